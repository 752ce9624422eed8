"""How the kernel reads compact vectors: codes to integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tesserank.maxsim.compact import (
    ALL_PAIRS,
    LOWEST_GRADE,
    MARK_EVERY,
    MULTIPLE,
    PEAK,
    QUARTERS,
    WIDTHS,
    CompactVectors,
)
from tesserank.maxsim.jit.arrays import frozen
from tesserank.maxsim.jit.kept import kept
from tesserank.maxsim.jit.numbers import rounded

_FOURS, _PAIRS = np.int64, np.int32  # a piece of a book, as one number
_PEAK, _STEP = np.float32(PEAK), np.float32(1 / PEAK)
_BLOCK = 64  # tokens whose integers stay in the first cache


def arrays_of(items: CompactVectors) -> tuple[NDArray[Any], ...]:
    """What ``fill`` takes."""
    tables = [
        table.view(_FOURS if width == 4 else _PAIRS)[:, :, 0] for table, width in zip(items.tables, WIDTHS, strict=True)
    ]
    steps = items.steps[len(WIDTHS)].astype(np.float32)
    read = (items.codes, items.marks, items.cells, items.means, items.spreads, items.grades, steps, *tables)
    return tuple(frozen(array, array.dtype) for array in read)


def decode(items: CompactVectors, begins: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
    """The vectors of tokens from ``begins[i]`` on, ``lengths[i]`` of them, for i after i -> float32 [sum, d]."""
    vectors = np.empty((int(lengths.sum()), items.dim), dtype=np.float32)
    block = np.empty((_BLOCK, items.means.shape[1]), dtype=np.int16)
    wanted = frozen(begins, np.int64), frozen(lengths, np.int64), frozen(items.order, np.int64)
    _decode(arrays_of(items), *wanted, block, vectors)
    return vectors


@kept()
def _decode(arrays: Any, begins: Any, lengths: Any, order: Any, block: Any, vectors: Any) -> None:
    place = 0
    for i in range(len(begins)):
        for first in range(begins[i], begins[i] + lengths[i], _BLOCK):
            count = min(_BLOCK, begins[i] + lengths[i] - first)
            fill(arrays, first, count, block, 0)
            for token in range(count):
                for c in range(len(order)):
                    vectors[place + token, order[c]] = np.float32(block[token, c]) * _STEP
            place += count


@njit(nogil=True)
def fill(arrays: Any, first: int, count: int, block: Any, place: int) -> None:
    """See ``stores.Store``; columns beyond d are 0."""
    codes, marks, cells, means, spreads, grades, steps, pair_table, four_table, rest_table = arrays
    width: Any = 4 * len(four_table)
    quarter = width // QUARTERS
    residual, rest = np.empty(width, dtype=np.int16), np.empty(width, dtype=np.int16)
    pairs, fours, rest_fours = residual.view(_PAIRS), residual.view(_FOURS), rest.view(_FOURS)
    vector = np.empty(width, dtype=np.float32)
    code = np.int64(marks[first // MARK_EVERY])
    for token in range(first // MARK_EVERY * MARK_EVERY, first):
        code += grades[cells[token]] * (width // MULTIPLE)
    for token in range(count):
        cell = cells[first + token]
        grade: Any = np.int64(grades[cell])
        if grade == 0:
            residual[:] = 0
        else:
            in_pairs = min(grade - LOWEST_GRADE, QUARTERS) * quarter
            in_rest = max(grade - ALL_PAIRS, 0) * quarter
            _look_up(pair_table, codes[code:], pairs[: in_pairs // 2])
            code += in_pairs // 2
            _look_up(four_table[in_pairs // 4 :], codes[code:], fours[in_pairs // 4 :])
            code += (width - in_pairs) // 4
            _look_up(rest_table, codes[code:], rest_fours[: in_rest // 4])
            code += in_rest // 4
            for c in range(in_rest):
                residual[c] += rest[c]
        factor = _put_together(residual, spreads[cell], means[cell], steps, vector)
        _round(vector, factor, block[place + token])


@njit(nogil=True)
def _look_up(table: Any, codes: Any, pieces: Any) -> None:
    for group in range(np.uintp(len(pieces))):  # unsigned: signed indices are looked at first, as they may be negative
        pieces[group] = table[group, codes[group]]


@njit(nogil=True, fastmath={"reassoc"})
def _put_together(residual: Any, spread: Any, mean: Any, steps: Any, vector: Any) -> Any:
    """Write residual · spread + mean, in whole numbers, and return what makes that PEAK long.

    As ``CompactVectors.integers`` does it, to the bit: all sums are exact, the squares' in whatever order.
    """
    squares = np.float32(0)
    for c in range(len(vector)):
        vector[c] = rounded(np.float32(residual[c]) * spread) + np.float32(mean[c]) * steps[c]
    for c in range(len(vector)):
        squares += vector[c] * vector[c]
    return _PEAK / np.sqrt(squares) if squares > 0 else np.float32(0)


@njit(nogil=True)
def _round(vector: Any, factor: Any, row: Any) -> None:
    for c in range(min(len(vector), len(row))):
        row[c] = np.int16(rounded(vector[c] * factor))
