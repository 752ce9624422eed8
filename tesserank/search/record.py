"""What the export found out about the pruned search of an index, and what a server makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tesserank.errors import ArtifactError
from tesserank.files import read_json, write_json
from tesserank.search.recall import Recall

RECORD = "search.json"  # in an index's directory


@dataclass(frozen=True)
class SearchRecord:
    """The pruned search of one index."""

    index_id: str
    seed: int  # of stand-ins and queries
    candidates: int  # that were scored exactly
    stand_ins: Mapping[str, str]  # what stands in for the vectors, by space
    bytes: int  # of these, on disk
    recall: Mapping[str, Recall]  # by the kind of query

    @property
    def lowest_recall(self) -> float:
        """The lowest of all recalls, at any depth; 1 if none was measured."""
        return min((recall.lowest for recall in self.recall.values()), default=1.0)

    def shortfall(self, min_recall: float) -> str | None:
        """What to say if a recall lies below ``min_recall``, with what to do about it; None if none does."""
        if self.lowest_recall >= min_recall:
            return None
        kind, recall = min(self.recall.items(), key=lambda entry: entry[1].lowest)
        return (
            f"pruned search of index {self.index_id} finds {recall.at_10:.3f} of the exact top 10 and "
            f"{recall.at_100:.3f} of the top 100 of {kind}, search.min_recall is {min_recall}: in the segments file, "
            f"raise search.candidates (now {self.candidates}), lower search.min_recall or set search.method = "
            '"exhaustive", and export again (make export)'
        )

    def save(self, index: Path) -> None:
        """Write into an index's directory."""
        write_json(index / RECORD, asdict(self))

    @staticmethod
    def load(index: Path) -> SearchRecord:
        """Read what ``save`` wrote. Raises ArtifactError if it is missing or corrupt."""
        table = read_json(index / RECORD)
        try:
            recall = {kind: Recall(**entry) for kind, entry in table.pop("recall").items()}
            return SearchRecord(**table, recall=recall)
        except (KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(f"{index / RECORD} is corrupt ({error!r}): rebuild it with make export") from error
