"""tesserank itself, in this process: the request path's embedder and late interaction, over the whole catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tesserank.artifact.bundle import open_segments, open_template
from tesserank.artifact.layout import Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.encoding.cache import SegmentCache
from tesserank.encoding.engine import OnnxEngine
from tesserank.encoding.template import Template
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.errors import EmptyRequestError
from tesserank.index import ItemIndex, load_index
from tesserank.limits import Limits
from tesserank.maxsim import cpu
from tesserank.segments.config import SegmentsConfig
from tesserank.serving.embedder import SegmentEmbedder
from tesserank.serving.interaction import LateInteraction
from tesserank.serving.request import UserContext
from tesserank_evaluation.recommender import Scores
from tesserank_evaluation.remembered import RememberedUnits
from tesserank_evaluation.split import History

_CACHE_BYTES = 256 << 20  # of encoded segments


class TesserankInProcess:
    """Scores as ``SegmentScorer`` computes them when it searches exhaustively; ``units`` remembers between users."""

    def __init__(
        self, embedder: SegmentEmbedder, units: RememberedUnits, pool: ThreadPoolExecutor | None = None
    ) -> None:
        self._embedder = embedder
        self.units = units
        self._interaction = LateInteraction(
            embedder.index, embedder.config, self.units, partial(cpu.aggregate, pool=pool)
        )
        self._ids = [item.encode() for item in embedder.index.item_ids]
        self.unanswered = 0
        self.truncated_tokens = 0  # of segments that did not fit the encoder
        self.settings: Mapping[str, Any] = {}

    @property
    def limits(self) -> Limits:
        """What the artefact's segments file lets one request carry."""
        return self._embedder.config.limits

    def scores(self, histories: Sequence[History]) -> Scores:
        """See ``Recommender``. A user without any segment, whom a server refuses, has all items tied."""
        scores = np.zeros((len(histories), len(self._embedder.index)), dtype=np.float32)
        with threadpool_limits(1, "blas"):
            for row, history in enumerate(histories):
                try:
                    embedded = self._embedder.embed([context_of(history, self._ids, self.limits.max_history_events)])
                except EmptyRequestError:
                    self.unanswered += 1
                    continue
                self.truncated_tokens += sum(embedded.truncated)
                scores[row] = self._interaction.scores(embedded.segments[0])
        return scores


def context_of(history: History, ids: Sequence[bytes], newest: int) -> UserContext:
    """A history as a request says it: its ``newest`` events, items by their ``ids``."""
    kept = slice(-newest, None)
    return UserContext(
        item_ids=[ids[row] for row in history.items[kept].tolist()],
        timestamps=history.timestamps[kept],
        kinds=history.kinds[kept],
        timestamp=history.asked_at,
    )


@dataclass(frozen=True)
class OpenArtifact:
    """An artefact's parts, for recommenders of one segments file or several; these share what they remember."""

    index: ItemIndex
    config: SegmentsConfig  # its own
    template: Template
    tokenizer: TextTokenizer
    engine: OnnxEngine
    cache: SegmentCache
    units: RememberedUnits
    pool: ThreadPoolExecutor | None

    def recommender(self, config: SegmentsConfig | None = None) -> TesserankInProcess:
        """Its recommender; with another ``config``, what that says of histories, less the spaces the index lacks."""
        own = self.config if config is None else config.in_spaces(self.index.spaces)
        embedder = SegmentEmbedder(self.index, own, self.template, self.tokenizer, self.cache, self.engine)
        return TesserankInProcess(embedder, self.units, self.pool)


@contextmanager
def opened_artifact(artifact: Path, threads: int, memory_bytes: int) -> Iterator[OpenArtifact]:
    """An artefact on so many threads. Raises ArtifactError or ConfigError if it is not usable."""
    layout, precision = Layout(artifact), load_manifest(artifact, []).precision
    engine = OnnxEngine.for_precision(layout.encoder(precision), precision, threads)
    index = load_index(layout.index)
    with ThreadPoolExecutor(max(threads - 1, 1), thread_name_prefix="maxsim") as workers:
        pool = workers if threads > 1 else None
        yield OpenArtifact(
            index=index,
            config=open_segments(artifact, index),
            template=open_template(artifact),
            tokenizer=TextTokenizer(layout.tokenizer),
            engine=engine,
            cache=SegmentCache(_CACHE_BYTES),
            units=RememberedUnits(memory_bytes, pool),
            pool=pool,
        )


@contextmanager
def opened(artifact: Path, threads: int, memory_bytes: int) -> Iterator[TesserankInProcess]:
    """An artefact's recommender on so many threads. Raises ArtifactError or ConfigError if it is not usable."""
    with opened_artifact(artifact, threads, memory_bytes) as parts:
        yield parts.recommender()
