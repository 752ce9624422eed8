"""Threads that take all that waits: nothing is lost, nothing is done twice, and the end waits for what was taken."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tesserank.serving.workers import Workers

PATIENCE_S = 10.0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.001)


class Gate:
    """Work that waits until it is let go, and remembers what it was given."""

    def __init__(self) -> None:
        self.taken: list[list[int]] = []
        self.open = threading.Event()

    def __call__(self, jobs: list[int]) -> None:
        self.taken.append(jobs)
        assert self.open.wait(PATIENCE_S)


def test_what_piles_up_meanwhile_is_taken_together_and_in_order() -> None:
    gate = Gate()
    workers = Workers(gate, threads=1, capacity=10, name="test")
    assert workers.idle
    assert workers.offer(1)
    until(lambda: gate.taken == [[1]])
    assert not workers.idle
    assert all(workers.offer(job) for job in (2, 3, 4))
    gate.open.set()
    workers.close()
    assert gate.taken == [[1], [2, 3, 4]]
    assert workers.idle


def test_several_threads_take_what_comes_while_one_is_busy() -> None:
    gate = Gate()
    workers = Workers(gate, threads=2, capacity=10, name="test")
    workers.offer(1)
    until(lambda: gate.taken == [[1]])
    workers.offer(2)
    until(lambda: gate.taken == [[1], [2]])
    gate.open.set()
    workers.close()


def test_more_than_the_capacity_are_not_taken() -> None:
    gate = Gate()
    workers = Workers(gate, threads=1, capacity=2, name="test")
    workers.offer(0)
    until(lambda: gate.taken == [[0]])
    assert [workers.offer(job) for job in (1, 2, 3)] == [True, True, False]
    gate.open.set()
    until(lambda: workers.idle)
    assert workers.offer(4)
    workers.close()
    assert gate.taken == [[0], [1, 2], [4]]
    assert not workers.offer(5), "closed"


def test_every_job_of_many_threads_is_done_once() -> None:
    done: list[int] = []
    workers: Workers[int] = Workers(done.extend, threads=3, capacity=1_000, name="test")
    callers = [
        threading.Thread(target=lambda first=first: [workers.offer(first + n) for n in range(200)])  # type: ignore[misc]
        for first in (0, 200, 400, 600)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    workers.close()
    assert sorted(done) == list(range(800))


def test_work_that_raises_does_not_end_its_thread(capsys: pytest.CaptureFixture[str]) -> None:
    done: list[int] = []

    def work(jobs: list[int]) -> None:
        if 1 in jobs:
            raise RuntimeError("no 1s here")
        done.extend(jobs)

    workers = Workers(work, threads=1, capacity=10, name="test")
    workers.offer(1)
    until(lambda: workers.idle)
    workers.offer(2)
    workers.close()
    assert done == [2]
    assert "no 1s here" in capsys.readouterr().err
