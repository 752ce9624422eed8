"""Pruned search of the whole catalogue: find the items worth scoring, then score those exactly.

The export makes what it needs and measures its recall (``record``); a server opens it with ``open_proposer``.
"""

from __future__ import annotations

from pathlib import Path

from tesserank.errors import ArtifactError
from tesserank.index import ItemIndex
from tesserank.maxsim import jit
from tesserank.search.record import RECORD, SearchRecord
from tesserank.search.standins import load_stand_ins
from tesserank.segments.config import SegmentsConfig
from tesserank.serving.selection import CandidateProposer

__all__ = ["open_proposer"]


def open_proposer(directory: Path, index: ItemIndex, config: SegmentsConfig, threads: int) -> CandidateProposer | None:
    """The proposer of the index in ``directory``, for ``SegmentScorer(proposer=...)``.

    None where the whole catalogue is scored: because the segments file says so, or because the compiled kernels cannot
    run here (numba or AVX2 is missing), without which looking for candidates takes as long as scoring all items.
    Raises ArtifactError if the export left nothing to search with, or if what it measured lies below search.min_recall.
    """
    if not config.search.prunes(len(index)):
        return None
    if not (directory / RECORD).is_file():
        raise ArtifactError(
            f"index {index.index_id} of {len(index):,} items was exported for exhaustive search, "
            f"but search.method is {config.search.method!r}: rebuild it with make export"
        )
    record = SearchRecord.load(directory)
    if record.index_id != index.index_id:
        raise ArtifactError(
            f"{directory / RECORD} is about index {record.index_id}, not {index.index_id}: rebuild it with make export"
        )
    if shortfall := record.shortfall(config.search.min_recall):
        raise ArtifactError(shortfall)
    if not jit.available():
        return None
    from tesserank.search.proposer import StandInProposer  # compiled with numba

    stand_ins = load_stand_ins(directory, index)
    return StandInProposer.threaded(index, config, stand_ins, config.search.candidates, threads)
