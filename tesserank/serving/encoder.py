"""The encoder's queue: the rows of all requests that are there, in the batches that the engine is quickest with."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from tesserank.encoding.batching import Batching, EncoderCounts, Engine
from tesserank.encoding.template import row_lengths
from tesserank.errors import InvalidArgumentError
from tesserank.protocol import SEGMENT_ENCODER
from tesserank.serving.dispatch import Incoming, Reply

IDS, MASK = (tensor.name for tensor in SEGMENT_ENCODER.inputs)
EMBEDDINGS = SEGMENT_ENCODER.outputs[0].name

# Among how many waiting rows, the oldest ones, a batch is put together: to look at all would take longer the more wait.
_LOOKED_AT = 256


@dataclass
class _Request:
    ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    reply: Reply
    lengths: list[int] = field(init=False)
    left: int = field(init=False)  # rows without their vectors
    vectors: NDArray[np.float32] | None = None
    failed: bool = False

    def __post_init__(self) -> None:
        if self.ids.shape != self.mask.shape:
            raise InvalidArgumentError(f"{IDS} has shape {self.ids.shape}, {MASK} {self.mask.shape}")
        # Copies: what a request came in may be another's by the time that its rows' turn has come.
        self.ids, self.mask = self.ids.copy(), self.mask.copy()
        self.lengths = row_lengths(self.mask).tolist()
        self.left = len(self.lengths)


@dataclass(frozen=True)
class _Row:
    request: _Request
    row: int

    @property
    def length(self) -> int:
        return self.request.lengths[self.row]


class EncoderQueue:
    """Answers requests of segment_encoder: rows of token ids, of any lengths, to token vectors.

    Triton's dynamic batcher puts whole requests together, and only those of one shape. Here rows are: whoever is free
    takes the row that has waited longest and, of the others, those nearest to it in length. On a CPU one thread a core
    does so, and only what comes alone is shared between them, because it would leave the others idle; on a GPU one
    thread does.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._batching = engine.batching
        self._waiting: deque[_Row] = deque()
        self._running = 0
        self._closed = False
        self._counts = EncoderCounts()
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, name=f"encoder-{number}", daemon=True)
            for number in range(self._batching.at_once)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, batch: Sequence[Incoming]) -> None:
        """Answer requests that came together, now or later."""
        rows: list[_Row] = []
        for incoming in batch:
            try:
                request = _Request(incoming.arrays[IDS], incoming.arrays[MASK], incoming.reply)
            except Exception as error:  # whatever it is, this request's client must hear of it and no other's
                incoming.reply(error)
                continue
            rows += [_Row(request, row) for row in range(len(request.ids))]
        with self._changed:
            self._waiting.extend(rows)
            # What comes alone is not worth handing over to another thread.
            alone = None if self._running else self._all_at_once()
            if alone is None:
                self._changed.notify(len(rows))
                return
            self._running += 1
        self._run(alone, shared=True)

    def counts(self) -> EncoderCounts:
        """The totals so far, consistent."""
        with self._changed:
            return self._counts

    def close(self) -> None:
        """Return when everything is answered and the threads have ended."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._has_turn)
                if not self._waiting:
                    return
                alone = None if self._running else self._all_at_once()
                batch = alone or self._next()
                self._running += 1
            self._run(batch, shared=alone is not None)

    def _has_turn(self) -> bool:
        """Whether a thread may go on: to run a batch beside fewer than there are cores for, or to end."""
        return self._running < self._batching.at_once if self._waiting else self._closed

    def _all_at_once(self) -> list[_Row] | None:
        """All rows that wait, if they make one batch; they wait no more then."""
        if not 0 < len(self._waiting) <= self._batching.most_rows:
            return None
        rows = list(self._waiting)
        if not self._batching.unpadded and padding([row.length for row in rows]) > self._batching.most_padding:
            return None
        self._waiting.clear()
        return rows

    def _next(self) -> list[_Row]:
        """The oldest row and its companions, but not more than a thread's share of what waits; they wait no more."""
        seen = list(islice(self._waiting, _LOOKED_AT))
        share = -(-len(self._waiting) // self._batching.at_once)
        chosen = companions([row.length for row in seen], self._batching, share)
        for position in sorted(chosen, reverse=True):
            del self._waiting[position]
        return [seen[position] for position in chosen]

    def _run(self, batch: list[_Row], shared: bool) -> None:
        try:
            self._encode([row for row in batch if not row.request.failed], shared)
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _encode(self, batch: list[_Row], shared: bool) -> None:
        if not batch:
            return
        length = max(row.length for row in batch)
        ids, mask = np.zeros((2, len(batch), length), dtype=np.int64)
        for place, row in enumerate(batch):
            ids[place, : row.length] = row.request.ids[row.row, : row.length]
            mask[place, : row.length] = row.request.mask[row.row, : row.length]
        try:
            vectors = self._engine(ids, mask) if shared else self._engine.on_this_thread(ids, mask)
        except Exception as error:
            if len(batch) > 1:  # ids that the encoder does not know, say: alone, only the row that has them fails
                for row in batch:
                    self._encode([row], shared)
            else:
                self._fail(batch[0].request, error)
            return
        lengths = [row.length for row in batch]
        with self._changed:
            self._counts = self._counts.plus(lengths, self._batching.size(sum(lengths), length, len(batch)))
        for row, found in zip(batch, vectors, strict=True):
            self._put(row, found)

    def _put(self, row: _Row, vectors: NDArray[np.float32]) -> None:
        request = row.request
        with self._changed:
            if request.vectors is None:
                request.vectors = np.zeros((*request.ids.shape, vectors.shape[1]), dtype=vectors.dtype)
            request.vectors[row.row, : row.length] = vectors[: row.length]
            request.left -= 1
            done = request.left == 0
        if done:
            request.reply({EMBEDDINGS: request.vectors})

    def _fail(self, request: _Request, error: Exception) -> None:
        with self._changed:
            first, request.failed = not request.failed, True
        if first:
            request.reply(error)


def padding(lengths: Sequence[int]) -> float:
    """Which part of a batch of rows of these lengths is padding."""
    return 1 - sum(lengths) / (max(lengths) * len(lengths))


def companions(lengths: Sequence[int], batching: Batching, share: int) -> list[int]:
    """Positions of the first row and of those that had better run with it, at most ``share``, the nearest in length."""
    chosen: list[int] = []
    tokens = longest = 0
    for position in sorted(range(len(lengths)), key=lambda i: (abs(lengths[i] - lengths[0]), i)):
        longest_then, tokens_then = max(longest, lengths[position]), tokens + lengths[position]
        size = batching.size(tokens_then, longest_then, len(chosen) + 1)
        most_padding = min(batching.most_padding * size, batching.batch_cost * len(chosen))
        if chosen and (size > batching.most_tokens or size - tokens_then > most_padding):
            continue
        chosen.append(position)
        tokens, longest = tokens_then, longest_then
        if len(chosen) == min(share, batching.most_rows):
            break
    return chosen
