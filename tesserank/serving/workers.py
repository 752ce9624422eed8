"""Threads that take all the work that has piled up at once."""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Job = TypeVar("Job")


class Workers(Generic[Job]):
    """``threads`` threads that call ``work`` with all the jobs that wait, oldest first.

    At most ``capacity`` jobs wait.
    """

    def __init__(self, work: Callable[[list[Job]], None], threads: int, capacity: int, name: str) -> None:
        self._work = work
        self._capacity = capacity
        self._waiting: deque[Job] = deque()
        self._working = 0
        self._closed = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def idle(self) -> bool:
        """Whether nothing waits or is being done."""
        return not self._waiting and not self._working

    def offer(self, job: Job) -> bool:
        """Hand over a job; False, and it is not taken, if too many wait or after ``close``."""
        with self._changed:
            if self._closed or len(self._waiting) >= self._capacity:
                return False
            self._waiting.append(job)
            self._changed.notify()
            return True

    def close(self) -> None:
        """Return when every job that was taken is done and the threads have ended."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while jobs := self._take():
            try:
                self._work(jobs)
            except Exception:  # a fault in the code, but those who come next need this thread
                traceback.print_exc()
            with self._changed:
                self._working -= 1

    def _take(self) -> list[Job]:
        """All jobs, as soon as there is one; none after ``close``."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting)
            jobs = list(self._waiting)
            self._waiting.clear()
            self._working += bool(jobs)
            return jobs
