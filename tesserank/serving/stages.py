"""How long each stage of answering takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tesserank.encoding.batch import Encode

UNPACK = "unpack"  # arrays of a request → contexts and options
TOKENISE = "tokenise"  # contexts → segments: cut, tokenised, looked up in the cache
WAIT = "wait"  # from there to the encoder's turn, for requests that it must encode something for
ENCODE = "encode"  # calls of the encoder
GATHER = "gather"  # token vectors of a request's segments, from the index and the cache
PROPOSE = "propose"  # which items to score: rows of candidates, filters, proposals
MAXSIM = "maxsim"  # late interaction alone
AGGREGATE = "aggregate"  # aggregation, top-k, contributions
PACK = "pack"  # answers → arrays
STAGES = (UNPACK, TOKENISE, WAIT, ENCODE, GATHER, PROPOSE, MAXSIM, AGGREGATE, PACK)


@dataclass(frozen=True)
class Reading:
    """Totals since the start, by stage."""

    seconds: Mapping[str, float]
    runs: Mapping[str, int]


class StageClock:
    """Adds up what stages take; safe to use from several threads. A measurement costs about a microsecond."""

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._runs = dict.fromkeys(STAGES, 0)
        self._lock = threading.Lock()

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add what the block takes; a block that raises is not counted."""
        started = time.perf_counter()
        yield
        self.add(stage, time.perf_counter() - started)

    def add(self, stage: str, seconds: float) -> None:
        """Add one run of a stage."""
        with self._lock:
            self._seconds[stage] += seconds
            self._runs[stage] += 1

    def measured_encoder(self, encode: Encode) -> Encode:
        """The encoder, each call of which is a run of its stage."""

        def call(input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
            with self.measure(ENCODE):
                return encode(input_ids, attention_mask)

        return call

    def reading(self) -> Reading:
        """The totals so far, consistent."""
        with self._lock:
            return Reading(dict(self._seconds), dict(self._runs))
