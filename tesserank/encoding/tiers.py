"""The segment cache of a GPU: what is used most lies in its memory, what is used less in pinned host memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Protocol

from tesserank.encoding.cache import CacheCounters, SegmentCache

Vectors = Any  # of segments, on the device: whatever the placement moves; [n, d]


class Placement(Protocol):
    """Moves vectors between the two memories; tests take a stand-in."""

    def to_host(self, vectors: Vectors) -> Any:
        """A copy in host memory."""

    def to_device(self, held: Any) -> Vectors:
        """A copy in device memory of what ``to_host`` gave."""


class TieredCache:
    """``SegmentCache`` in two tiers, each bounded in bytes; safe to use from several threads.

    An entry lies in one tier. The least recently used of the device's tier moves to the host's, and one that is found
    there moves back; the least recently used of the host's is forgotten. A capacity of 0 leaves a tier out.
    """

    def __init__(self, device_bytes: int, host_bytes: int, placement: Placement) -> None:
        for name, capacity in (("device", device_bytes), ("host", host_bytes)):
            if capacity < 0:
                raise ValueError(f"cache capacity must be at least 0 bytes of {name} memory, not {capacity}")
        self._placement = placement
        self._device, self._host = _Tier(device_bytes), _Tier(host_bytes)
        self._hits = self._misses = self._evictions = 0
        self._lock = threading.Lock()

    def get(self, key: bytes) -> Vectors | None:
        """The vectors under a key, on the device, or None; counts a hit or a miss."""
        with self._lock:
            if key in self._device:
                self._hits += 1
                return self._device.touch(key)
            if key not in self._host:
                self._misses += 1
                return None
            self._hits += 1
            held = self._host.touch(key)
            vectors = self._placement.to_device(held)
            if self._device.takes(vectors):
                self._host.pop(key)
                self._put_on_device(key, vectors)
            return vectors

    def peek(self, key: bytes) -> Vectors | None:
        """``get`` that neither counts nor moves the entry."""
        with self._lock:
            if key in self._device:
                return self._device[key]
            return self._placement.to_device(self._host[key]) if key in self._host else None

    def put(self, key: bytes, vectors: Vectors) -> None:
        """Keep vectors of the device under a key; what exceeds both tiers alone is not kept."""
        with self._lock:
            if key in self._device or key in self._host:
                return
            if self._device.takes(vectors):
                self._put_on_device(key, vectors)
            elif self._host.takes(vectors):
                self._put_on_host(key, vectors)

    def clear(self) -> None:
        """Forget every entry; the counters stay."""
        with self._lock:
            self._device.clear()
            self._host.clear()

    def counters(self) -> CacheCounters:
        """A consistent reading of the counters, of both tiers together."""
        with self._lock:
            entries, size = len(self._device) + len(self._host), self._device.bytes + self._host.bytes
            return CacheCounters(self._hits, self._misses, self._evictions, entries, size)

    def bytes_by_tier(self) -> tuple[int, int]:
        """What the tiers of the device and of the host hold."""
        with self._lock:
            return self._device.bytes, self._host.bytes

    def _put_on_device(self, key: bytes, vectors: Vectors) -> None:
        self._device.add(key, vectors)
        while self._device.is_over:
            oldest, evicted = self._device.pop_oldest()
            if self._host.takes(evicted):
                self._put_on_host(oldest, evicted)
            else:
                self._evictions += 1

    def _put_on_host(self, key: bytes, vectors: Vectors) -> None:
        self._host.add(key, self._placement.to_host(vectors))
        while self._host.is_over:
            self._host.pop_oldest()
            self._evictions += 1


class _Tier:
    """Entries of one memory, the least recently used first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[bytes, Any] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: bytes) -> bool:
        return key in self._entries

    def __getitem__(self, key: bytes) -> Any:
        return self._entries[key]

    @property
    def is_over(self) -> bool:
        return self.bytes > self._capacity

    def takes(self, vectors: Any) -> bool:
        """Whether the vectors alone fit."""
        return _size(vectors) <= self._capacity

    def touch(self, key: bytes) -> Any:
        self._entries.move_to_end(key)
        return self._entries[key]

    def add(self, key: bytes, vectors: Any) -> None:
        self._entries[key] = vectors
        self.bytes += _size(vectors)

    def pop(self, key: bytes) -> Any:
        vectors = self._entries.pop(key)
        self.bytes -= _size(vectors)
        return vectors

    def pop_oldest(self) -> tuple[bytes, Any]:
        key = next(iter(self._entries))
        return key, self.pop(key)

    def clear(self) -> None:
        self._entries.clear()
        self.bytes = 0


def _size(vectors: Any) -> int:
    return int(vectors.nbytes) + SegmentCache.ENTRY_OVERHEAD_BYTES
