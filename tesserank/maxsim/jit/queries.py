"""Query tokens as the kernels multiply them: small integers, and a size each.

    <q, v> with v = codes · step   is   <q · step, codes>            the steps move into the query
    q · step ≈ integers · size     with size = max |q · step| / R    one size a token, so max_j needs no floats
    bytes                               <integers, codes> = <integers, codes + BYTE_ZERO> + shift

R is as large as the integers' type holds and as no sum overflows (``query_range``). Rounding a query to 16 bits costs
256 times less than its items' 8 bits did; to 8 bits, about as much as they did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tesserank.maxsim.jit.arithmetic import PACK, Arithmetic
from tesserank.maxsim.jit.arrays import frozen
from tesserank.maxsim.jit.kept import kept
from tesserank.maxsim.jit.numbers import rounded
from tesserank.maxsim.jit.tile import STEPS_MULTIPLE

_NOTHING = np.float32(1e-30)  # smaller tokens are 0: what they are scaled by would overflow
_INT32 = np.iinfo(np.int32).max


@dataclass(frozen=True)
class PackedQueries:
    """Q query tokens: ``steps`` int32 [Q / PACK, steps, PACK], padded by 0, each of them the integers of one step;
    ``sizes`` float32 [Q]; ``shifts`` int32 [Q], what a sum of products with items lacks; ``lost`` float32 [Q], the
    length of what rounding to integers took, in their unit.
    """

    steps: NDArray[np.int32]
    sizes: NDArray[np.float32]
    shifts: NDArray[np.int32]
    lost: NDArray[np.float32]


def query_range(arithmetic: Arithmetic, peak: int, dim: int) -> int:
    """The largest |integer| of a query: its type holds it, and ``dim`` products with an item's add up to an int32.

    ``peak``: of an item's integers.
    """
    return min(np.iinfo(arithmetic.query_type).max, _INT32 // ((peak + arithmetic.zero) * dim))


def pack_queries(
    tokens: NDArray[np.float32], steps: NDArray[np.float32], peak: int, arithmetic: Arithmetic
) -> PackedQueries:
    """Quantise ``tokens`` [Q, d] times ``steps`` [d], for items with integers up to ``peak``.

    A token times the steps is its integers times its size, but for rounding; with a NaN or an infinity its size is NaN.
    """
    count, dim = tokens.shape
    groups, depth = -(-count // PACK), arithmetic.depth
    packed = np.zeros((groups, -(-dim // (depth * STEPS_MULTIPLE)) * STEPS_MULTIPLE, PACK), dtype=np.int32)
    integers = np.zeros(packed.shape[1] * depth, dtype=arithmetic.query_type)
    sizes, lost = np.empty((2, count), dtype=np.float32)
    shifts = np.zeros(count, dtype=np.int32)
    limit = np.float32(query_range(arithmetic, peak, dim))
    of_tokens = frozen(tokens, np.float32), frozen(steps, np.float32)
    _pack(*of_tokens, limit, integers, integers.view(np.int32), arithmetic.zero, packed, sizes, shifts, lost)
    return PackedQueries(packed, sizes, shifts, lost)


@kept()
def _pack(
    tokens: Any, steps: Any, limit: Any, integers: Any, of_steps: Any, zero: Any,
    packed: Any, sizes: Any, shifts: Any, lost: Any,
) -> None:  # fmt: skip
    """``of_steps`` is ``integers`` by the step; both are scratch."""
    count, dim = tokens.shape
    stepped = np.empty(dim, dtype=np.float32)
    for t in range(count):
        for c in range(dim):
            stepped[c] = tokens[t, c] * steps[c]
        if not np.isfinite(_total(stepped)):
            sizes[t] = lost[t] = np.nan
            continue
        peak = _peak(stepped)
        factor = limit / peak if peak > _NOTHING else np.float32(0)
        sizes[t] = peak / limit
        for c in range(dim):  # the largest comes out as the limit, a few units in the last place more or less
            stepped[c] *= factor
            integers[c] = np.int16(rounded(stepped[c]))
        lost[t] = _distance(stepped, integers)
        if zero:
            shifts[t] = -zero * integers.sum()
        lanes = packed[t // PACK, :, t % PACK]
        for p in range(len(of_steps)):
            lanes[p] = of_steps[p]


@njit(nogil=True, fastmath={"reassoc"})
def _total(values: Any) -> Any:
    """The sum of magnitudes, in whatever order is fast: it is only asked whether it is finite."""
    total = np.float32(0)
    for c in range(len(values)):
        total += abs(values[c])
    return total


@njit(nogil=True, fastmath={"reassoc"})
def _distance(values: Any, integers: Any) -> Any:
    total = np.float32(0)
    for c in range(len(values)):
        total += (values[c] - np.float32(integers[c])) ** 2
    return np.sqrt(total)


@njit(nogil=True, fastmath={"nnan", "nsz"})
def _peak(values: Any) -> Any:
    """The largest magnitude of numbers that are none of them NaN."""
    peak = np.float32(0)
    for c in range(len(values)):
        magnitude = abs(values[c])
        if magnitude > peak:
            peak = magnitude
    return peak
