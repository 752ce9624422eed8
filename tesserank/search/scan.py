"""The scan of the pruned search, compiled: what every item's centroids say of every query token, summed by unit.

    table    uint8 [C, W]           what a centroid says of the query token in a slot; a row is contiguous
    maxima   uint8 [W]              of an item: the largest of its tokens' rows, slot by slot, in registers
    sums     float32 [W / WORD]     of the maxima in each word of WORD slots; a unit is one word or more

LLVM would keep the maxima in memory between two tokens (measured: 8 times slower), so this loop is built from its
vector instructions, all of them portable: a maximum is a comparison and a choice, the sum of four bytes two adds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tesserank.maxsim.jit.kept import kept
from tesserank.maxsim.jit.transpose import transpose

WORD = 4  # slots that are summed at once: the bytes of 32 bits
REGISTER = 64  # slots of which a table row is a multiple: of AVX-512 a register, of AVX2 two
_STRIP = 64  # items whose sums stay in the first cache until they are added up by unit

_I8, _I16, _I32, _I64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
_BYTES, _WORDS = ir.VectorType(_I8, REGISTER), ir.VectorType(_I32, REGISTER // WORD)
_SUMS, _SUMS_BYTES = ir.VectorType(ir.FloatType(), REGISTER // WORD), REGISTER // WORD * 4


@intrinsic
def _tile(typing: Any, table: Any, codes: Any, count: Any, stride: Any, sums: Any) -> Any:
    """One item's sums in a register of slots. Of addresses: ``table`` -> uint8 rows, ``stride`` bytes apart; ``codes``
    -> uint16 [count], the rows of the item's tokens; ``sums`` -> float32 [REGISTER / WORD], written.
    """
    return types.void(types.uintp, types.uintp, types.intp, types.intp, types.uintp), _emit_tile


_sum_words: Callable[..., None] = _tile


def _emit_tile(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
    table, codes, count, stride, sums = arguments
    before = builder.block
    loop, after = builder.append_basic_block("tokens"), builder.append_basic_block("sums")
    zero = ir.Constant(_BYTES, [0] * REGISTER)
    builder.cbranch(builder.icmp_signed(">", count, _int(0)), loop, after)

    builder.position_at_end(loop)
    token, maximum = builder.phi(_I64), builder.phi(_BYTES)
    token.add_incoming(_int(0), before)
    maximum.add_incoming(zero, before)
    second = builder.add(token, _int(1))  # of an odd number of tokens the last is looked up twice
    second = builder.select(builder.icmp_signed("<", second, count), second, token)
    said = _maximum(builder, *(_row(builder, table, codes, place, stride) for place in (token, second)))
    raised = _maximum(builder, maximum, said)
    following = builder.add(token, _int(2))
    token.add_incoming(following, loop)
    maximum.add_incoming(raised, loop)
    builder.cbranch(builder.icmp_signed("<", following, count), loop, after)

    builder.position_at_end(after)
    final = builder.phi(_BYTES)
    final.add_incoming(zero, before)
    final.add_incoming(raised, loop)
    place = builder.inttoptr(sums, _SUMS.as_pointer())
    builder.store(_sum_of_bytes(builder, builder.bitcast(final, _WORDS)), place).align = 4
    return context.get_dummy_value()


def _row(builder: ir.IRBuilder, table: Any, codes: Any, token: Any, stride: Any) -> Any:
    code = _load(builder, builder.add(codes, builder.shl(token, _int(1))), _I16)
    return _load(builder, builder.add(table, builder.mul(builder.zext(code, _I64), stride)), _BYTES)


def _maximum(builder: ir.IRBuilder, a: Any, b: Any) -> Any:
    return builder.select(builder.icmp_unsigned(">", a, b), a, b)


def _sum_of_bytes(builder: ir.IRBuilder, words: Any) -> Any:
    """The four bytes of each 32 bits, added: neighbours to two of 16 bits, those to one."""
    low = _splat(0x00FF00FF)
    total = builder.add(builder.and_(words, low), builder.and_(builder.lshr(words, _splat(8)), low))
    total = builder.add(total, builder.lshr(total, _splat(16)))
    return builder.sitofp(builder.and_(total, _splat(0xFFFF)), _SUMS)


def _splat(value: int) -> ir.Constant:
    return ir.Constant(_WORDS, [value] * (REGISTER // WORD))


def _load(builder: ir.IRBuilder, address: Any, kind: ir.Type) -> Any:
    value = builder.load(builder.inttoptr(address, kind.as_pointer()))
    value.align = 1
    return value


def _int(value: int) -> ir.Constant:
    return ir.Constant(_I64, value)


@kept()
def scan(
    table: Any,
    codes: Any,
    offsets: Any,
    rows: Any,
    every: Any,
    begin: Any,
    end: Any,
    words: Any,
    steps: Any,
    scores: Any,
) -> None:
    """``scores[g, i] = steps[g] · sum of unit g's slots``, for i from ``begin`` to ``end``.

    * ``table`` uint8 [C, W], W a multiple of REGISTER; ``codes`` uint16 [T] below C; ``offsets`` int64 [N + 1];
    * ``rows`` int64 [n] to score, or, if ``every``, all;
    * ``words`` int64 [G + 1], the first word of each unit; ``steps`` float32 [G]; ``scores`` float32 [G, n], written.
    """
    registers = table.shape[1] // REGISTER
    sums = np.zeros((_STRIP, table.shape[1] // WORD), dtype=np.float32)
    by_word = np.empty((sums.shape[1], _STRIP), dtype=np.float32)
    first_row, all_codes, all_sums = table.ctypes.data, codes.ctypes.data, sums.ctypes.data
    for first in range(begin, end, _STRIP):
        count = min(_STRIP, end - first)
        for i in range(count):
            row = first + i if every else rows[first + i]
            tokens, target = all_codes + np.uintp(2 * offsets[row]), all_sums + np.uintp(i * sums.strides[0])
            for r in range(registers):
                part, own = first_row + np.uintp(r * REGISTER), target + np.uintp(r * _SUMS_BYTES)
                _sum_words(part, tokens, offsets[row + 1] - offsets[row], table.strides[0], own)
        transpose(sums, by_word)
        for unit in range(len(steps)):
            step, totals, out = steps[unit], by_word[words[unit]], scores[unit, first:]
            for word in range(words[unit] + 1, words[unit + 1]):
                for i in range(_STRIP):
                    totals[i] += by_word[word, i]
            for i in range(count):
                out[i] = step * totals[i]


@kept()
def to_levels(values: Any, levels: Any) -> None:
    """``values`` float32 [n, W] rounded to 0..255 -> ``levels`` uint8 [n, W]; what is below 0, or NaN, becomes 0."""
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            value = values[i, j]
            value = value if value > np.float32(0) else np.float32(0)
            value = value if value < np.float32(255) else np.float32(255)
            levels[i, j] = np.uint8(np.int32(value + np.float32(0.5)))
