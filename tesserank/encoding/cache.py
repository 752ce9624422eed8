"""The segment cache: what was encoded once is looked up from then on."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def segment_key(encoder_id: str, input_ids: NDArray[np.int64]) -> bytes:
    """The key of a segment: the encoder's id and the token ids it is given, which include the tokenizer's work.

    Segments are encoded on their own, so a key needs no parent: it is free of order, and an edit changes one key.
    """
    digest = hashlib.blake2b(encoder_id.encode(), digest_size=16)
    digest.update(np.ascontiguousarray(input_ids, dtype=np.int64).tobytes())
    return digest.digest()


@dataclass(frozen=True)
class CacheCounters:
    """Counts since the start, and what the cache holds now."""

    hits: int
    misses: int
    evictions: int
    entries: int
    bytes: int


class SegmentCache:
    """A least-recently-used cache of token vectors, bounded in bytes; safe to use from several threads.

    ``capacity_bytes`` counts the vectors and a fixed overhead for each entry; 0 switches the cache off.
    """

    ENTRY_OVERHEAD_BYTES = 256  # key, array header and dictionary slot, measured with sys.getsizeof and rounded up

    def __init__(self, capacity_bytes: int) -> None:
        if capacity_bytes < 0:
            raise ValueError(f"cache capacity must be at least 0 bytes, not {capacity_bytes}")
        self.capacity_bytes = capacity_bytes
        self._entries: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._bytes = self._hits = self._misses = self._evictions = 0
        self._lock = threading.Lock()

    def get(self, key: bytes) -> NDArray[np.float32] | None:
        """The vectors under a key, or None; counts a hit or a miss."""
        with self._lock:
            vectors = self._entries.get(key)
            if vectors is None:
                self._misses += 1
            else:
                self._hits += 1
                self._entries.move_to_end(key)
            return vectors

    def peek(self, key: bytes) -> NDArray[np.float32] | None:
        """``get`` that neither counts nor makes the entry the most recently used."""
        with self._lock:
            return self._entries.get(key)

    def put(self, key: bytes, vectors: NDArray[np.float32]) -> None:
        """Keep vectors under a key, evicting the least recently used; what exceeds the capacity alone is not kept."""
        size = self._size(vectors)
        with self._lock:
            if size > self.capacity_bytes or key in self._entries:
                return
            vectors.setflags(write=False)
            self._entries[key] = vectors
            self._bytes += size
            while self._bytes > self.capacity_bytes:
                _, evicted = self._entries.popitem(last=False)
                self._bytes -= self._size(evicted)
                self._evictions += 1

    def clear(self) -> None:
        """Forget every entry; the counters stay."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    def counters(self) -> CacheCounters:
        """A consistent reading of the counters."""
        with self._lock:
            return CacheCounters(self._hits, self._misses, self._evictions, len(self._entries), self._bytes)

    def _size(self, vectors: NDArray[np.float32]) -> int:
        return vectors.nbytes + self.ENTRY_OVERHEAD_BYTES
