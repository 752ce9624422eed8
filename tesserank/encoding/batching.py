"""What runs the encoder: engines, and which batches each of them is quickest with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Batching:
    """Batches that an engine wants. ``at_once``: how many may run side by side, each on a thread of its own.

    ``most_rows``: of any batch; ``most_tokens``: of one that has others beside it, with its padding. At most
    ``most_padding`` of a batch is padding, and at most ``batch_cost`` tokens for each row but the first: as many as
    would take as long as a batch of their own does beside its tokens. ``unpadded``: the engine leaves padding out
    itself, and rows of all lengths may run together.
    """

    at_once: int
    most_rows: int
    most_tokens: int
    batch_cost: int
    most_padding: float = 0.15
    unpadded: bool = False

    def size(self, tokens: int, longest: int, rows: int) -> int:
        """Tokens that a batch makes the engine run, of ``rows`` rows with ``tokens`` in all, ``longest`` in one."""
        return tokens if self.unpadded else longest * rows


# A core: two rows of 130 tokens, or eight of 34, keep its matrix units as busy as more would, and the less is in a
# batch, the sooner the first of them are done.
CORE_TOKENS, CORE_BATCH_COST = 300, 15
# A GPU: a forward pass launches hundreds of kernels, which take as long as hundreds of tokens do. Not measured yet.
GPU_TOKENS, GPU_BATCH_COST = 8192, 256
MOST_ROWS = 64  # segment_encoder's max_batch_size, which profiles and graphs are prepared for


def on_cores(threads: int, row_by_row: bool = False) -> Batching:
    """Of an engine on a CPU: a batch a core; int8 rows run one by one (see ``OnnxEngine``)."""
    return Batching(threads, 1 if row_by_row else MOST_ROWS, CORE_TOKENS, CORE_BATCH_COST)


def on_gpu(most_rows: int = MOST_ROWS, unpadded: bool = False) -> Batching:
    """Of an engine on a GPU, which one batch fills."""
    return Batching(1, most_rows, GPU_TOKENS, GPU_BATCH_COST, unpadded=unpadded)


class Engine(ABC):
    """Ids and mask, both int64 [rows, L], to the encoder's output [rows, ...], float32."""

    batching: Batching

    @abstractmethod
    def __call__(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """A batch that has the engine to itself."""

    def on_this_thread(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """A batch beside others, ``batching.at_once`` in all. An engine that runs one at a time has no other way."""
        return self(input_ids, attention_mask)


@dataclass(frozen=True)
class EncoderCounts:
    """Totals since the start: batches run, their rows, and tokens, real ones and with their padding."""

    batches: int = 0
    rows: int = 0
    real_tokens: int = 0
    padded_tokens: int = 0

    def plus(self, lengths: Sequence[int], padded_tokens: int) -> EncoderCounts:
        """With a batch of rows of these lengths."""
        return EncoderCounts(
            self.batches + 1,
            self.rows + len(lengths),
            self.real_tokens + sum(lengths),
            self.padded_tokens + padded_tokens,
        )
