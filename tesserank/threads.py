"""A loop shared between threads, of which the caller is one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

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
