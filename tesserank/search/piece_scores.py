"""Inner products of units with items whose vectors are pieces: looked up and added, in whole numbers.

    u_ig ≈ Σ_t w_t · <q_t, v_i> = Σ_p <(Σ_t w_t · q_t)_p, piece p of item i>

    table  uint8 [P · 256, lanes]     what each piece of each book says of each unit, in 255 levels of the widest book's
    sums   uint16 [lanes]             of an item: the rows that its codes name, added, in a register

As in ``scan``, the loop is built from LLVM's vector instructions, portable ones.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from tesserank.maxsim.jit.arrays import frozen
from tesserank.maxsim.jit.kept import kept
from tesserank.maxsim.jit.transpose import transpose
from tesserank.search.pieces import CODES, PieceVectors
from tesserank.threads import share

LANES = 16  # units in a register of 16-bit sums
LEVELS = 255  # the largest
_STRIP = 64  # items whose sums stay in the first cache until they are written unit by unit
# Waking a thread takes about 50 µs, in which a core adds some 100 thousand rows.
_ROWS_WORTH_A_THREAD = 100_000

_I64 = ir.IntType(64)
_BYTES, _SUMS = ir.VectorType(ir.IntType(8), LANES), ir.VectorType(ir.IntType(16), LANES)
_FLOATS = ir.VectorType(ir.FloatType(), LANES)


def unit_scores(
    tokens: NDArray[np.float32],
    token_weights: NDArray[np.float32],
    starts: NDArray[np.int64],
    items: PieceVectors,
    rows: NDArray[np.int64] | None = None,
    pool: ThreadPoolExecutor | None = None,
) -> NDArray[np.float32]:
    """Scores of G units with the items of ``rows`` [n] (None: all) -> float32 [n, G], unit by unit in memory.

    Arguments as of ``maxsim.cpu.unit_scores``. An item's scores are the same whichever others are asked for.
    """
    units = np.add.reduceat(tokens * token_weights[:, None], starts, axis=0)
    table, steps, bases = lookup_table(units, items.books)
    count = len(items) if rows is None else len(rows)
    chosen = frozen(np.empty(0) if rows is None else rows, np.int64)
    codes = frozen(items.codes, np.uint8)
    scores = np.empty((len(starts), count), dtype=np.float32)

    def add_range(begin: int, end: int) -> None:
        _add(table, codes, chosen, rows is None, begin, end, steps, bases, scores)

    share(add_range, count, _ROWS_WORTH_A_THREAD // codes.shape[1], pool)
    return scores.T


def lookup_table(
    units: NDArray[np.float32], books: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """``units`` [G, d] and ``books`` [P, CODES, w] -> levels uint8 [P · CODES, lanes], steps [G] and bases [G].

    A unit's product with a vector is about its base plus its step times the levels of the vector's pieces.
    """
    pieces, codes, width = books.shape
    padded = np.zeros((len(units), pieces * width), dtype=np.float32)
    padded[:, : units.shape[1]] = units
    products = np.empty((pieces, len(units), codes), dtype=np.float32)
    lowest, steps = np.empty((pieces, len(units)), dtype=np.float32), np.zeros(len(units), dtype=np.float32)
    _multiply(padded.reshape(len(units), pieces, width), frozen(books.transpose(0, 2, 1), np.float32), products)
    table = np.zeros((pieces * codes, -(-len(units) // LANES) * LANES), dtype=np.uint8)
    _to_levels(products, lowest, steps, table)
    return frozen(table, np.uint8), frozen(steps, np.float32), frozen(lowest.sum(axis=0), np.float32)


@kept()
def _multiply(units: Any, books: Any, products: Any) -> None:
    """``units`` [G, P, w] and ``books`` [P, w, CODES] -> ``products`` [P, G, CODES]."""
    for piece in range(products.shape[0]):
        for unit in range(products.shape[1]):
            said = products[piece, unit]
            said[:] = 0
            for c in range(units.shape[2]):
                value, column = units[unit, piece, c], books[piece, c]
                for code in range(len(said)):
                    said[code] += value * column[code]


@kept()
def _to_levels(products: Any, lowest: Any, steps: Any, table: Any) -> None:
    """Write what ``lookup_table`` returns: ``lowest`` [P, G], whose sums are the bases; ``steps`` [G], zeros before."""
    pieces, units, codes = products.shape
    for piece in range(pieces):
        for unit in range(units):
            said = products[piece, unit]
            lowest[piece, unit] = said.min()
            steps[unit] = max(steps[unit], (said.max() - lowest[piece, unit]) / np.float32(LEVELS))
    for piece in range(pieces):
        for unit in range(units):
            if steps[unit] > 0:
                said, low, per_step = products[piece, unit], lowest[piece, unit], np.float32(1) / steps[unit]
                for code in range(codes):
                    level = (said[code] - low) * per_step + np.float32(0.5)
                    table[piece * codes + code, unit] = np.uint8(min(level, np.float32(LEVELS)))


@kept()
def _add(
    table: Any, codes: Any, rows: Any, every: Any, begin: Any, end: Any, steps: Any, bases: Any, scores: Any
) -> None:
    """``scores[g, i]`` float32 [G, n] for i from ``begin`` to ``end``; ``rows`` int64 [n], or, if ``every``, all."""
    lanes, pieces = table.shape[1], codes.shape[1]
    sums = np.zeros((_STRIP, LANES), dtype=np.float32)
    by_unit = np.empty((LANES, _STRIP), dtype=np.float32)
    first_row, first_code, all_sums = table.ctypes.data, codes.ctypes.data, sums.ctypes.data
    for first in range(begin, end, _STRIP):
        count = min(_STRIP, end - first)
        for lane in range(0, lanes, LANES):
            for i in range(count):
                row = first + i if every else rows[first + i]
                own = first_code + np.uintp(row * pieces)
                _sum_rows(first_row + np.uintp(lane), own, pieces, lanes, all_sums + np.uintp(i * sums.strides[0]))
            transpose(sums, by_unit)
            for unit in range(lane, min(lane + LANES, len(steps))):
                step, base, total, out = steps[unit], bases[unit], by_unit[unit - lane], scores[unit, first:]
                for i in range(count):
                    out[i] = base + step * total[i]


@intrinsic
def _rows(typing: Any, table: Any, codes: Any, pieces: Any, stride: Any, sums: Any) -> Any:
    """Of addresses: the rows of ``table`` (uint8 [.., LANES], ``stride`` bytes apart) that ``codes`` uint8 [pieces]
    name, one in each CODES of them, added -> ``sums`` float32 [LANES]. ``pieces`` is above 0.
    """
    return types.void(types.uintp, types.uintp, types.intp, types.intp, types.uintp), _emit_rows


def _emit_rows(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
    table, codes, pieces, stride, sums = arguments
    before = builder.block
    loop, after = builder.append_basic_block("pieces"), builder.append_basic_block("sums")
    book = builder.mul(stride, ir.Constant(_I64, CODES))
    builder.branch(loop)
    builder.position_at_end(loop)
    piece, page, total = builder.phi(_I64), builder.phi(_I64), builder.phi(_SUMS)
    code = builder.load(builder.inttoptr(builder.add(codes, piece), ir.IntType(8).as_pointer()))
    place = builder.add(page, builder.mul(builder.zext(code, _I64), stride))
    row = builder.load(builder.inttoptr(place, _BYTES.as_pointer()))
    row.align = 1
    added = builder.add(total, builder.zext(row, _SUMS))
    following = builder.add(piece, ir.Constant(_I64, 1))
    for phi, start, value in (
        (piece, ir.Constant(_I64, 0), following),
        (page, table, builder.add(page, book)),
        (total, ir.Constant(_SUMS, [0] * LANES), added),
    ):
        phi.add_incoming(start, before)
        phi.add_incoming(value, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, pieces), loop, after)
    builder.position_at_end(after)
    builder.store(builder.uitofp(added, _FLOATS), builder.inttoptr(sums, _FLOATS.as_pointer())).align = 4
    return context.get_dummy_value()


_sum_rows: Callable[..., None] = _rows
