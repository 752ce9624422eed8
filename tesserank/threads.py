"""A loop shared between threads, of which the caller is one; threads that stay on a CPU."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

_RANGES_PER_THREAD = 4


def share(work: Callable[[int, int], None], count: int, least: int, pool: ThreadPoolExecutor | None) -> None:
    """Call ``work(begin, end)`` on ranges that make up ``range(count)``, of about ``least`` or more each.

    ``work`` must release the GIL for threads to be of use. Each takes a range when it is done with its last, so one
    that is slow, or that other requests keep busy, holds nobody up: the caller does what nobody else takes.
    """
    helpers = 0 if pool is None else pool._max_workers  # it has no public name
    parts = min(count // max(least, 1), _RANGES_PER_THREAD * (helpers + 1))
    if pool is None or parts < 2:
        if count:
            work(0, count)
        return
    step = -(-count // parts)
    begins = iter(range(0, count, step))  # next() of it is atomic

    def take_ranges() -> None:
        for begin in begins:
            work(begin, min(begin + step, count))

    helping = [pool.submit(take_ranges) for _ in range(min(helpers, parts - 1))]
    try:
        take_ranges()
    finally:
        started = [future for future in helping if not future.cancel()]
        for future in started:
            future.result()


def cpus_of_its_own(threads: int) -> tuple[int, ...]:
    """The CPUs that this thread, and what it starts, may run on, if they are as many as ``threads``; else none.

    With CPUs to spare the system had better choose, or all who have two threads would meet on the first two CPUs.
    """
    allowed = sorted(os.sched_getaffinity(0))
    return tuple(allowed) if len(allowed) == threads else ()


@contextmanager
def on_cpu(cpu: int) -> Iterator[None]:
    """Keep this thread on a CPU, then let it go where it might before. Nothing happens where the system forbids it."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError:  # the CPUs that this process may use have changed
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):
            os.sched_setaffinity(0, before)
