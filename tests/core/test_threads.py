"""A loop shared between threads: every range once, whatever the helpers do."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesserank.threads import share


@given(count=st.integers(0, 100), least=st.integers(0, 120), threads=st.integers(0, 4))
def test_every_position_is_worked_on_once(count: int, least: int, threads: int) -> None:
    ranges: list[tuple[int, int]] = []

    def work(begin: int, end: int) -> None:
        ranges.append((begin, end))

    if threads:
        with ThreadPoolExecutor(threads) as pool:
            share(work, count, least, pool)
    else:
        share(work, count, least, None)
    assert sorted(position for begin, end in ranges for position in range(begin, end)) == list(range(count))
    assert all(begin < end for begin, end in ranges)
    assert all(end - begin >= least for begin, end in ranges if end < count)


def test_helpers_take_ranges_while_the_caller_is_busy() -> None:
    both = threading.Barrier(2, timeout=30)
    names = set()

    def work(begin: int, end: int) -> None:
        if begin < 2:  # the first range of either waits for the other's
            both.wait()
        names.add(threading.current_thread().name)

    with ThreadPoolExecutor(1, thread_name_prefix="helper") as pool:
        share(work, 8, 1, pool)
    assert len(names) == 2


def test_busy_helpers_hold_nobody_up() -> None:
    done, let_go = [], threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(let_go.wait, 30)
        share(lambda begin, end: done.append((begin, end)), 10, 1, pool)
        assert not let_go.is_set()
        let_go.set()
    assert sum(end - begin for begin, end in done) == 10


@pytest.mark.parametrize("bad", range(4))
def test_an_error_in_any_range_reaches_the_caller(bad: int) -> None:
    def work(begin: int, end: int) -> None:
        if begin <= bad < end:
            raise ZeroDivisionError(str(bad))

    with ThreadPoolExecutor(2) as pool, pytest.raises(ZeroDivisionError, match=str(bad)):
        share(work, 4, 1, pool)
