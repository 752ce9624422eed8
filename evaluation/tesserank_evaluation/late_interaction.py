"""tesserank itself, in this process: the request path's embedder and late interaction, over the whole catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tesserank.artifact.layout import Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.encoding.cache import SegmentCache
from tesserank.encoding.engine import OnnxEngine
from tesserank.errors import EmptyRequestError
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
    """Scores as ``SegmentScorer`` computes them when it searches exhaustively; units are remembered between users."""

    def __init__(
        self,
        embedder: SegmentEmbedder,
        memory_bytes: int,
        pool: ThreadPoolExecutor | None = None,
        config: SegmentsConfig | None = None,
    ) -> None:
        self._embedder = embedder
        self.units = RememberedUnits(memory_bytes, pool)
        self._interaction = LateInteraction(
            embedder.index, config or embedder.config, self.units, partial(cpu.aggregate, pool=pool)
        )
        self._ids = [item.encode() for item in embedder.index.item_ids]
        self.unanswered = 0
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
                    [user] = self._embedder.embed([self._context(history)]).segments
                except EmptyRequestError:
                    self.unanswered += 1
                    continue
                scores[row] = self._interaction.scores(user)
        return scores

    def _context(self, history: History) -> UserContext:
        newest = slice(-self.limits.max_history_events, None)
        return UserContext(
            item_ids=[self._ids[row] for row in history.items[newest].tolist()],
            timestamps=history.timestamps[newest],
            kinds=history.kinds[newest],
        )


@contextmanager
def opened(artifact: Path, threads: int, memory_bytes: int) -> Iterator[TesserankInProcess]:
    """An artefact's recommender on so many threads. Raises ArtifactError or ConfigError if it is not usable."""
    precision = load_manifest(artifact, []).precision
    engine = OnnxEngine.for_precision(Layout(artifact).encoder(precision), precision, threads)
    embedder = SegmentEmbedder.open(artifact, SegmentCache(_CACHE_BYTES), engine)
    with ThreadPoolExecutor(max(threads - 1, 1), thread_name_prefix="maxsim") as pool:
        yield TesserankInProcess(embedder, memory_bytes, pool if threads > 1 else None)
