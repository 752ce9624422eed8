"""A recommender that is asked with a part of what is known: the newest items of a history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tesserank_evaluation.recommender import Recommender, Scores
from tesserank_evaluation.split import History


@dataclass(frozen=True)
class Newest:
    """``own`` knows of the ``count`` newest items of a history alone (None: of all)."""

    own: Recommender
    count: int | None

    @property
    def settings(self) -> Mapping[str, Any]:
        """Those of its own, and ``newest``."""
        return {**self.own.settings, "newest": self.count}

    def scores(self, histories: Sequence[History]) -> Scores:
        """See ``Recommender``."""
        newest = slice(None if self.count is None else -self.count, None)
        return self.own.scores(
            [History(own.items[newest], own.timestamps[newest], own.kinds[newest], own.asked_at) for own in histories]
        )
