"""Steps 3 to 6: segments in their spaces, through the transformer, y_ik, y_i = Σ_k y_ik, argsort; a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.encoding.batch import Encode
from tesserank.encoding.cache import SegmentCache
from tesserank.encoding.template import Template
from tesserank.index import ItemIndex
from tesserank.maxsim import cpu
from tesserank.segments.config import SegmentsConfig
from tesserank.serving.embedder import SegmentEmbedder
from tesserank.serving.interaction import LateInteraction
from tesserank.serving.request import UserContext
from tesserank.serving.segments import UserSegments

Result = dict[str, Any]
CACHE_BYTES = 1 << 30
STEPS = ("cut", "encode", "gather", "y_ik", "sum", "argsort")


@dataclass
class Clock:
    """Seconds of each step, a list with a batch's in each place."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {step: [] for step in STEPS})

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Everything measured within is of one batch."""
        for each in self.seconds.values():
            each.append(0.0)
        yield

    @contextmanager
    def measure(self, step: str) -> Iterator[None]:
        """Add what the block takes to the step of the batch at hand."""
        started = perf_counter()
        yield
        self.seconds[step][-1] += perf_counter() - started


class SegmentRanking:
    """Ranks all items of an index for users in batches, each step timed by itself."""

    def __init__(
        self,
        index: ItemIndex,
        config: SegmentsConfig,
        template: Template,
        tokenize: Callable[[str], list[int]],
        encode: Encode,
        threads: int,
    ) -> None:
        pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="maxsim") if threads > 1 else None
        self.clock = Clock()
        self.segments = self.encoded = self.tokens = 0
        self._encode = encode
        cache = SegmentCache(CACHE_BYTES)
        self._embedder = SegmentEmbedder(index, config, template, tokenize, cache, self._counted)
        self._interaction = LateInteraction(
            index, config, partial(cpu.unit_scores, pool=pool), partial(cpu.aggregate, pool=pool)
        )

    def _counted(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        self.encoded += len(ids)
        self.tokens += int(mask.sum())
        return self._encode(ids, mask)

    def rank(
        self, contexts: Sequence[UserContext]
    ) -> Iterator[tuple[dict[str, NDArray[np.float32]], NDArray[np.int64]]]:
        """Of each user of one batch: scores [items] by space, and of "all" together; and the items best first."""
        clock = self.clock
        with clock.batch():
            with clock.measure("cut"):
                planned = self._embedder.plan(contexts)
            with clock.measure("encode"):
                self._embedder.encode([planned])
            with clock.measure("gather"):
                users = self._embedder.finish(planned).segments
            for user in users:
                yield self._rank_user(user)

    def _rank_user(self, user: UserSegments) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.int64]]:
        interaction, clock = self._interaction, self.clock
        self.segments += len(user)
        with clock.measure("y_ik"):
            spaces = interaction.in_spaces(user, None)
        channels = interaction.channels(user)
        with clock.measure("sum"):
            total = interaction.of_channels(channels, spaces)
        with clock.measure("argsort"):
            order = np.argsort(-total, kind="stable")
        alone = {channel.space: interaction.of_channels([channel], spaces) for channel in channels}
        return alone | {"all": total}, order

    def warm_up(self, context: UserContext) -> None:
        """Rank for one user, who counts for nothing: kernels are compiled and vectors touched."""
        list(self.rank([context]))
        self.clock = Clock()
        self.segments = self.encoded = self.tokens = 0

    def result(self) -> Result:
        """What the steps took, and of how much."""
        return {
            "batches": len(self.clock.seconds["cut"]),
            "segments": self.segments,
            "encoded_segments": self.encoded,
            "encoded_tokens": self.tokens,
            "steps": [
                {"name": step, "seconds": round(sum(each), 4), "seconds_of_batches": [round(s, 4) for s in each]}
                for step, each in self.clock.seconds.items()
            ],
        }
