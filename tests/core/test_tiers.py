"""The cache of two tiers against the one-tier cache's contract; the memories are faked, what moves is recorded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tesserank.encoding.cache import SegmentCache
from tesserank.encoding.tiers import TieredCache

OVERHEAD = SegmentCache.ENTRY_OVERHEAD_BYTES
ENTRY = 40 + OVERHEAD  # of ten numbers


class Held:
    """Vectors in the stand-in of host memory."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self.vectors, self.nbytes = vectors, vectors.nbytes


class FakePlacement:
    """Vectors are plain on the device and wrapped on the host, so that none can be taken for the other."""

    def __init__(self) -> None:
        self.moves: list[str] = []

    def to_host(self, vectors: NDArray[np.float32]) -> Held:
        assert isinstance(vectors, np.ndarray)
        self.moves.append("host")
        return Held(vectors.copy())

    def to_device(self, held: Held) -> NDArray[np.float32]:
        assert isinstance(held, Held)
        self.moves.append("device")
        return held.vectors.copy()


def vectors(number: int, size: int = 10) -> NDArray[np.float32]:
    return np.full((1, size), number, dtype=np.float32)


def key(number: int) -> bytes:
    return number.to_bytes(2, "big")


def value_of(found: NDArray[np.float32] | None) -> float | None:
    return None if found is None else float(found[0, 0])


operations = st.lists(
    st.one_of(
        st.tuples(st.just("get"), st.integers(0, 12)),
        st.tuples(st.just("peek"), st.integers(0, 12)),
        st.tuples(st.just("put"), st.integers(0, 12)),
        st.tuples(st.just("clear"), st.just(0)),
    ),
    max_size=60,
)


def run(cache: SegmentCache | TieredCache, todo: list[tuple[str, int]], size_of: dict[int, int]) -> list[object]:
    """What each operation answers, and the counters after it."""
    answers: list[object] = []
    for name, number in todo:
        if name == "put":
            cache.put(key(number), vectors(number, size_of.get(number, 10)))
        elif name == "clear":
            cache.clear()
        else:
            answers.append(value_of(getattr(cache, name)(key(number))))
        answers.append(cache.counters())
    return answers


@given(operations, st.dictionaries(st.integers(0, 12), st.integers(1, 60)), st.integers(0, 8 * ENTRY))
def test_one_tier_alone_is_the_cache_of_one_tier(
    todo: list[tuple[str, int]], sizes: dict[int, int], capacity: int
) -> None:
    expected = run(SegmentCache(capacity), todo, sizes)
    assert run(TieredCache(capacity, 0, FakePlacement()), todo, sizes) == expected
    assert run(TieredCache(0, capacity, FakePlacement()), todo, sizes) == expected


@given(operations, st.integers(0, 5), st.integers(0, 5))
def test_both_tiers_are_together_what_one_of_their_sizes_is(todo: list[tuple[str, int]], near: int, far: int) -> None:
    """Of entries of one size: which lies where is nobody's business but the clock's."""
    expected = run(SegmentCache((near + far) * ENTRY), todo, {})
    assert run(TieredCache(near * ENTRY, far * ENTRY, FakePlacement()), todo, {}) == expected


@given(
    operations,
    st.dictionaries(st.integers(0, 12), st.integers(1, 60)),
    st.integers(0, 5 * ENTRY),
    st.integers(0, 5 * ENTRY),
)
def test_neither_tier_exceeds_its_bytes_and_no_entry_is_another_s(
    todo: list[tuple[str, int]], sizes: dict[int, int], near: int, far: int
) -> None:
    cache = TieredCache(near, far, FakePlacement())
    for step in range(1, len(todo) + 1):
        run(cache, todo[step - 1 : step], sizes)
        on_device, on_host = cache.bytes_by_tier()
        assert 0 <= on_device <= near
        assert 0 <= on_host <= far
        assert cache.counters().bytes == on_device + on_host
    for number in range(13):
        assert value_of(cache.peek(key(number))) in (None, number)


def test_what_was_found_on_the_host_comes_back_and_pushes_another_out() -> None:
    placement = FakePlacement()
    cache = TieredCache(2 * ENTRY, 2 * ENTRY, placement)
    for number in range(3):
        cache.put(key(number), vectors(number))
    assert placement.moves == ["host"]  # 0, the oldest
    assert value_of(cache.get(key(0))) == 0
    assert placement.moves == ["host", "device", "host"]  # and 1 out
    placement.moves.clear()
    assert value_of(cache.get(key(0))) == 0
    assert placement.moves == []


def test_capacities_below_0_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 0 bytes of host memory, not -1"):
        TieredCache(0, -1, FakePlacement())
