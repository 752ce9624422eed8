"""Many callers at once, in a closed loop: each sends the next request when it has the answer to its last.

Callers are threads, spread over a few processes so that Python's lock does not queue them: how much of a core the
busiest process used is part of the result, and near 1 it would mean that the callers were measured, not the server.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any

from tesserank_bench.errors import BenchmarkError
from tesserank_client import Client, Request, TesserankClientError

PROCESSES = 4
START_DELAY_S = 0.2  # for every process to have its requests before any caller begins
TIMEOUT_S = 60.0
Sample = tuple[float, float, int, int]  # monotonic seconds of sending and answer; segments found cached and not
Share = tuple[list[list[Sample]], list[str], float, float]  # of a process: see _call


@dataclass(frozen=True)
class Load:
    """What callers got, from their common start until the last answer."""

    callers: int
    window_s: float
    tail_s: float  # of the window: after the first caller found no request left, so with fewer of them asking
    seconds: tuple[float, ...]  # of every request that was answered
    failures: tuple[str, ...]  # why the others were not
    hits: int  # segments found cached
    misses: int  # segments encoded
    busiest_process: float  # CPU seconds a second of the busiest process of callers; 1 is all that Python can use
    cores_used: float  # CPU seconds a second of all of them

    @property
    def per_second(self) -> float:
        """Requests answered a second."""
        return len(self.seconds) / self.window_s

    @property
    def cached_share(self) -> float | None:
        """Share of the segments that were found cached; None if there were none to look up."""
        looked_up = self.hits + self.misses
        return self.hits / looked_up if looked_up else None


class LoadGenerator:
    """A few processes that wait for work; a context manager."""

    def __init__(self, processes: int = PROCESSES) -> None:
        context = multiprocessing.get_context("spawn")  # gRPC does not survive a fork
        self._connections: list[Connection] = []
        self._processes: list[BaseProcess] = []
        for _ in range(processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            self._connections.append(ours)
            self._processes.append(process)

    def __enter__(self) -> LoadGenerator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for connection in self._connections:
            connection.close()  # which ends the process
        for process in self._processes:
            process.join(5.0)
            if process.is_alive():
                process.kill()

    def run(self, url: str, callers: int, requests: Sequence[Request]) -> Load:
        """Let callers, all at the same time, take one request after the other until none is left.

        Each process has its share of both; requests are taken in their order. Raises BenchmarkError if all of them
        fail, or the callers themselves.
        """
        busy = self._connections[:callers]
        for number, connection in enumerate(busy):
            connection.send((url, len(range(number, callers, len(busy))), requests[number :: len(busy)]))
        for connection in busy:
            _checked(connection.recv())  # its connections to the server are open
        start_at = time.monotonic() + START_DELAY_S
        for connection in busy:
            connection.send(start_at)
        return _merge(start_at, [_checked(connection.recv()) for connection in busy])


def _checked(answer: Any) -> Any:
    if isinstance(answer, str):
        raise BenchmarkError(f"a caller failed: {answer}")
    return answer


def _merge(start: float, shares: Sequence[Share]) -> Load:
    callers = [samples for process, _, _, _ in shares for samples in process]
    answered = [sample for samples in callers for sample in samples]
    failures = tuple(failure for _, failed, _, _ in shares for failure in failed)
    if not answered:
        raise BenchmarkError(f"none of {len(failures)} requests was answered: {failures[0]}")
    ends = [samples[-1][1] if samples else start for samples in callers]
    cores = [cpu / passed for _, _, cpu, passed in shares]
    return Load(
        callers=len(callers),
        window_s=max(ends) - start,
        tail_s=max(ends) - min(ends),
        seconds=tuple(end - sent for sent, end, _, _ in answered),
        failures=failures,
        hits=sum(sample[2] for sample in answered),
        misses=sum(sample[3] for sample in answered),
        busiest_process=max(cores),
        cores_used=sum(cores),
    )


def _work(connection: Connection) -> None:
    """A process of callers: serves one load after the other until its connection ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business, whose end ends the connection
    with suppress(EOFError, OSError):
        while True:
            url, callers, requests = connection.recv()
            connection.send(_serve(connection, url, callers, requests))


def _serve(connection: Connection, url: str, callers: int, requests: Sequence[Request]) -> Any:
    try:
        clients = [Client(url, timeout=TIMEOUT_S) for _ in range(callers)]
        for client in clients:
            client.is_ready()
        connection.send(None)
        start_at = connection.recv()
        return _call(clients, deque(requests), start_at)
    except Exception as error:  # whatever it is, the benchmark must hear of it
        return f"{type(error).__name__}: {error}"


def _call(clients: Sequence[Client], requests: deque[Request], start_at: float) -> Share:
    """Each client's samples, why requests failed, and the process's CPU seconds in how many seconds."""
    samples: list[list[Sample]] = [[] for _ in clients]
    failures: list[str] = []

    def ask(client: Client, into: list[Sample]) -> None:
        while True:
            try:
                request = requests.popleft()
            except IndexError:  # none is left
                return
            sent = time.monotonic()
            try:
                answer = client.recommend_many([request])[0]
            except TesserankClientError as error:
                failures.append(f"{type(error).__name__}: {error}")
                continue
            into.append((sent, time.monotonic(), answer.cache_hits, answer.cache_misses))

    threads = [threading.Thread(target=ask, args=args) for args in zip(clients, samples, strict=True)]
    time.sleep(max(start_at - time.monotonic(), 0.0))
    cpu, started = time.process_time(), time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cpu, passed = time.process_time() - cpu, time.monotonic() - started
    for client in clients:
        client.close()
    return samples, failures, cpu, passed
