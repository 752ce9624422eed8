"""The segment cache against a simple model of it."""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tesserank.encoding.cache import SegmentCache, segment_key

OVERHEAD = SegmentCache.ENTRY_OVERHEAD_BYTES
CAPACITY = 4 * (OVERHEAD + 40)
keys = st.sampled_from([b"a", b"b", b"c", b"d", b"e", b"f"])
sizes = st.sampled_from([0, 1, 5, 10, 100, 500])


def vectors(rows: int, value: float = 1.0) -> np.ndarray:
    """``rows`` vectors of one float: 4 bytes a row."""
    return np.full((rows, 1), value, dtype=np.float32)


class CacheMachine(RuleBasedStateMachine):
    """Any calls in any order: the cache holds what the model holds, in the same order of age, and counts the same."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = SegmentCache(CAPACITY)
        self.model: OrderedDict[bytes, int] = OrderedDict()  # key -> bytes, least recently used first
        self.hits = self.misses = self.evictions = 0

    @rule(key=keys)
    def get(self, key: bytes) -> None:
        found = self.cache.get(key)
        assert (found is not None) == (key in self.model)
        if found is None:
            self.misses += 1
        else:
            self.hits += 1
            assert found.nbytes + OVERHEAD == self.model[key]
            self.model.move_to_end(key)

    @rule(key=keys, rows=sizes)
    def put(self, key: bytes, rows: int) -> None:
        self.cache.put(key, vectors(rows))
        size = 4 * rows + OVERHEAD
        if key in self.model or size > CAPACITY:
            return
        self.model[key] = size
        while sum(self.model.values()) > CAPACITY:
            self.model.popitem(last=False)
            self.evictions += 1

    @precondition(lambda self: len(self.model) > 1)
    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self.model.clear()

    @invariant()
    def counters_are_those_of_the_model(self) -> None:
        counters = self.cache.counters()
        assert (counters.hits, counters.misses, counters.evictions) == (self.hits, self.misses, self.evictions)
        assert counters.entries == len(self.model)
        assert counters.bytes == sum(self.model.values()) <= CAPACITY


TestAnySequenceOfCalls = CacheMachine.TestCase
TestAnySequenceOfCalls.settings = settings(max_examples=60, stateful_step_count=40)


def test_the_least_recently_used_is_evicted_first() -> None:
    cache = SegmentCache(3 * (OVERHEAD + 4))
    for key in (b"a", b"b", b"c"):
        cache.put(key, vectors(1))
    cache.get(b"a")
    cache.put(b"d", vectors(1))
    assert [key for key in (b"a", b"b", b"c", b"d") if cache.get(key) is not None] == [b"a", b"c", b"d"]
    assert cache.counters().evictions == 1


def test_what_is_larger_than_the_cache_evicts_nothing() -> None:
    cache = SegmentCache(OVERHEAD + 40)
    cache.put(b"a", vectors(10))
    cache.put(b"b", vectors(11))
    assert cache.get(b"a") is not None
    assert cache.get(b"b") is None
    assert cache.counters().evictions == 0


def test_a_capacity_of_0_switches_the_cache_off() -> None:
    cache = SegmentCache(0)
    cache.put(b"a", vectors(0))
    assert cache.get(b"a") is None
    assert cache.counters().entries == 0


def test_a_negative_capacity_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 0 bytes, not -1"):
        SegmentCache(-1)


def test_cached_vectors_cannot_be_written_to() -> None:
    cache = SegmentCache(CAPACITY)
    cache.put(b"a", vectors(2))
    found = cache.get(b"a")
    assert found is not None
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 5


def test_threads_share_a_cache_without_losing_count() -> None:
    cache = SegmentCache(CAPACITY)
    failures: list[str] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for number in rng.integers(0, 12, 2_000).tolist():
            found = cache.get(bytes([number]))
            if found is None:
                cache.put(bytes([number]), vectors(10, number))
            elif found[0, 0] != number:
                failures.append(f"{number} came back as {found[0, 0]}")
            if cache.counters().bytes > CAPACITY:
                failures.append("above capacity")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counters = cache.counters()
    assert failures == []
    assert counters.hits + counters.misses == 8_000
    assert counters.bytes == counters.entries * (OVERHEAD + 40)


def test_a_key_tells_encoders_and_inputs_apart_and_nothing_else() -> None:
    ids = np.array([1, 2, 3])
    key = segment_key("encoder-1", ids)
    assert key == segment_key("encoder-1", np.array([1, 0, 2, 0, 3], dtype=np.int32)[::2])
    others = [segment_key("encoder-2", ids), segment_key("encoder-1", ids[::-1]), segment_key("encoder-1", ids[:2])]
    assert len({key, *others}) == 4
