"""How item vectors that are stored as integers reach the kernel: the seam for other ways of storing them.

A new one needs a class in ``maxsim.vectors``, a ``fill`` function here, and a registration that says what goes into it:
the kernel, the tile and the rounding of queries stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tesserank.maxsim import jit
from tesserank.maxsim.compact import PEAK, CompactVectors
from tesserank.maxsim.jit import compact
from tesserank.maxsim.jit.arithmetic import AVX2, BYTE_ZERO, VNNI, VNNI_BYTES, Arithmetic
from tesserank.maxsim.jit.arrays import frozen
from tesserank.maxsim.vectors import ItemVectors, SteppedVectors


@dataclass(frozen=True)
class Store:
    """Integers of T tokens; a token's vector is its integers times ``steps``, and of its dimensions in ``order``.

    ``fill(arrays, first, count, block, place)`` is compiled (``numba.njit(nogil=True)``). It writes the integers of the
    ``count`` tokens from ``first`` on into the rows of ``block``, int16 [.., d or more], from ``place`` on; into their
    first d columns: the others are 0 and stay so. ``arrays`` should be ``frozen``: the kernel is compiled for their
    types. An item may be longer than a block: then ``fill`` is asked for it piece by piece. ``fill_bytes`` does the
    same into a block of uint8, BYTE_ZERO added; it is there if the integers fit, and the processor
    multiplies bytes.
    """

    arrays: tuple[NDArray[Any], ...]
    steps: NDArray[np.float32]  # [d]
    peak: int  # the largest |integer|
    fill: Callable[..., None]
    fill_bytes: Callable[..., None] | None = None
    longest: float = 0.0  # no token's integers are longer, as a vector; 0 if that is not known
    order: NDArray[np.integer[Any]] | None = None  # [d]; None: as they are

    def arranged(self, tokens: NDArray[np.float32]) -> NDArray[np.float32]:
        """Query tokens [Q, d], their dimensions in the order of the integers."""
        return tokens if self.order is None else tokens[:, self.order]

    def reading(self, coarse: bool = False) -> tuple[Arithmetic, Callable[..., None]]:
        """What this processor multiplies them with, and how they are filled into a block for that.

        ``coarse``: with queries in 8 bits, if ``has_coarse``.
        """
        if coarse and self.fill_bytes is not None:
            return VNNI_BYTES, self.fill_bytes
        return (VNNI if jit.has_vnni() else AVX2), self.fill

    @property
    def has_coarse(self) -> bool:
        """Whether queries in 8 bits are faster than those in 16."""
        return self.fill_bytes is not None


@singledispatch
def store_of(items: ItemVectors) -> Store | None:
    """How the kernel reads these items; None if it cannot."""
    return None


@store_of.register
def _(items: SteppedVectors) -> Store:
    codes = (frozen(items.codes, items.code_type),)
    if items.code_type is not np.int8 or not jit.has_vnni():
        return Store(codes, items.scale, items.peak, _fill_codes)
    return Store(codes, items.scale, items.peak, _fill_codes, _fill_bytes, items.longest)


@store_of.register
def _(items: CompactVectors) -> Store:
    steps = np.full(items.dim, 1 / PEAK, dtype=np.float32)
    return Store(compact.arrays_of(items), steps, PEAK, compact.fill, order=items.order)


@njit(nogil=True)
def _fill_codes(arrays: Any, first: int, count: int, block: Any, place: int) -> None:
    """Codes as they are, widened."""
    codes = arrays[0]
    for token in range(count):
        for column in range(codes.shape[1]):
            block[place + token, column] = codes[first + token, column]


@njit(nogil=True)
def _fill_bytes(arrays: Any, first: int, count: int, block: Any, place: int) -> None:
    codes = arrays[0]
    for token in range(count):
        for column in range(codes.shape[1]):
            block[place + token, column] = codes[first + token, column] + BYTE_ZERO
