"""Who waits for whom: nobody for another's encoder, and nobody for longer than there is someone to hear the answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from tesserank.errors import OverloadedError
from tesserank.serving.ranker import PlannedRequest, SegmentRanker
from tesserank.serving.workers import Workers

Arrays = dict[str, NDArray[Any]]
Reply = Callable[[Arrays | Exception], None]

MOST_WAITING = 1024  # requests, of those that need the encoder and of those that do not
LONGEST_WAIT_S = 5.0
# While one thread ranks what it has encoded, the other keeps the encoder busy.
ENCODING_THREADS = 2


@dataclass(frozen=True)
class Incoming:
    """A request as it came; ``timeout_s`` 0 if it has none of its own. ``reply`` is called once, from any thread."""

    arrays: Arrays
    reply: Reply
    timeout_s: float = 0.0


@dataclass(frozen=True)
class _Job:
    request: PlannedRequest
    reply: Reply
    arrived: float
    longest_wait: float


class Dispatcher:
    """Answers requests with a ranker, so that what is quick is not kept waiting by what is not.

    A request that misses nothing is answered at once, or, if others came before it, in its turn. One that needs the
    encoder waits for it aside, and what has piled up there meanwhile is encoded together. What has piled up to be
    ranked is ranked together, where the ranker gains by it. What waits too long is refused: its client has given up,
    and answering it would make the next ones wait.
    """

    def __init__(self, ranker: SegmentRanker) -> None:
        self._ranker = ranker
        self._ranking: Workers[_Job] = Workers(self._rank, 1, MOST_WAITING, "ranking")
        self._encoding: Workers[_Job] = Workers(self._encode, ENCODING_THREADS, MOST_WAITING, "encoding")

    def submit(self, batch: Sequence[Incoming]) -> None:
        """Answer requests that came together, now or later."""
        arrived = time.monotonic()
        for incoming in batch:
            try:
                request = self._ranker.plan(incoming.arrays)
            except Exception as error:  # whatever it is, this request's client must hear of it and no other's
                incoming.reply(error)
                continue
            longest_wait = min(incoming.timeout_s or LONGEST_WAIT_S, LONGEST_WAIT_S)
            job = _Job(request, incoming.reply, arrived, longest_wait)
            if not request.is_hot:
                self._queue(job, self._encoding)
            elif len(batch) > 1 or not self._ranking.idle:
                self._queue(job, self._ranking)
            else:
                self._finish([job])

    def close(self) -> None:
        """Return when everything is answered; what comes afterwards is refused."""
        self._encoding.close()
        self._ranking.close()

    def _queue(self, job: _Job, workers: Workers[_Job]) -> None:
        if not workers.offer(job):
            job.reply(OverloadedError(f"Exceeds maximum queue size: {MOST_WAITING:,} requests wait already"))

    def _rank(self, jobs: list[_Job]) -> None:
        for some in self._together(jobs):
            self._finish([job for job in some if self._in_time(job)])

    def _encode(self, jobs: list[_Job]) -> None:
        jobs = [job for job in jobs if self._in_time(job)]
        try:
            self._ranker.encode([job.request for job in jobs])
        except Exception as error:  # the server's own fault, such as a dead encoder: asking it again helps nobody
            for job in jobs:
                job.reply(error)
            return
        for some in self._together(jobs):
            self._finish(some)

    def _together(self, jobs: list[_Job]) -> Iterator[list[_Job]]:
        """Jobs that are ranked at once, as many as the ranker likes."""
        size = self._ranker.together
        return (jobs[start : start + size] for start in range(0, len(jobs), size))

    def _in_time(self, job: _Job) -> bool:
        waited = time.monotonic() - job.arrived
        if waited <= job.longest_wait:
            return True
        job.reply(OverloadedError(f"Request timeout expired: it waited {waited:.1f} s, at most {job.longest_wait:g} s"))
        return False

    def _finish(self, jobs: list[_Job]) -> None:
        for place, answer in self._ranker.finish_all([job.request for job in jobs]):
            try:
                jobs[place].reply(answer)
            except Exception as error:  # as in submit; an answer that cannot be sent is an error
                jobs[place].reply(error)
