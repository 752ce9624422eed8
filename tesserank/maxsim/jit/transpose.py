"""Items by queries to queries by items, four by four in registers: element by element costs ten times as much."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

BLOCK = 4
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_ROW = ir.VectorType(_I32, BLOCK)


@njit(nogil=True)
def transpose(source: Any, target: Any) -> None:
    """``target[j, i] = source[i, j]``, both of 4-byte numbers, contiguous, and of whole blocks of four either way."""
    first, to = source.ctypes.data, target.ctypes.data  # slices would be counted as references, which takes longer
    row, column = source.strides[0], target.strides[0]
    for i in range(0, source.shape[0], BLOCK):
        for j in range(0, source.shape[1], BLOCK):
            _transpose_block(first + np.uintp(i * row + 4 * j), row, to + np.uintp(j * column + 4 * i), column)


@intrinsic
def _block(typing: Any, source: Any, source_stride: Any, target: Any, target_stride: Any) -> Any:
    """Four rows of four at one address to four columns at another; strides in bytes."""
    return types.void(types.uintp, types.intp, types.uintp, types.intp), _emit_block


_transpose_block: Callable[..., None] = _block


def _emit_block(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
    source, source_stride, target, target_stride = arguments
    rows = []
    for i in range(BLOCK):
        row = builder.load(_place(builder, source, source_stride, i))
        row.align = 4
        rows.append(row)
    for half, picked in enumerate(((0, 4, 1, 5), (2, 6, 3, 7))):
        upper = builder.shuffle_vector(rows[0], rows[1], _mask(picked))
        lower = builder.shuffle_vector(rows[2], rows[3], _mask(picked))
        for odd, joined in enumerate(((0, 1, 4, 5), (2, 3, 6, 7))):
            column = builder.shuffle_vector(upper, lower, _mask(joined))
            builder.store(column, _place(builder, target, target_stride, 2 * half + odd)).align = 4
    return context.get_dummy_value()


def _place(builder: ir.IRBuilder, address: Any, stride: Any, row: int) -> Any:
    place = builder.add(address, builder.mul(stride, ir.Constant(_I64, row)))
    return builder.inttoptr(place, _ROW.as_pointer())


def _mask(lanes: tuple[int, ...]) -> ir.Constant:
    return ir.Constant(_ROW, list(lanes))
