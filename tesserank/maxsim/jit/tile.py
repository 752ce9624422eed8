"""The innermost loop of integer MaxSim: inner products of query and item tokens, and their maximum, in registers.

LLVM does not find this code by itself: written as loops, the products are widened to 32 bits before they are
multiplied, which is a quarter of what the processor can do. So the loop is built from LLVM's instructions, around
``vpmaddwd``: it multiplies sixteen pairs of int16, and adds neighbours to eight int32. Neighbours are components 2p and
2p + 1 of a token, "a pair" below.

A tile is QUERY_WIDTH query tokens (two registers of eight) by ``height`` item tokens. For each pair it loads two
registers of query components, and for each item token one pair, repeated eight times; ``2·height`` registers hold the
sums. Of the sixteen AVX2 registers, height 4 leaves enough that nothing is spilled, and costs as many loads as the load
units do while the products are made: both execution and loading run near their limits. Measured: 2 × 4 and 2 × 6 reach
0.86 of the peak of int8 products, 3 × 4 half of it (it spills), 3 × 3 less, for a remainder at the usual 16 tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 8  # int32 in a register
QUERY_WIDTH = 2 * LANES
_REGISTER_BYTES = 32
_UNROLL = 2  # pairs in a turn of the loop
PAIRS_MULTIPLE = _UNROLL

_I16, _I32, _I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
_PAIRS, _SUMS = ir.VectorType(_I16, 2 * LANES), ir.VectorType(_I32, LANES)


def make_tile(height: int) -> Callable[..., None]:
    """A function, to be called from compiled code alone, for ``height`` item tokens.

    ``tile(queries, items, best, pairs, stride)``, the first three as addresses:

    * ``queries`` -> int16 [pairs, QUERY_WIDTH, 2], contiguous;
    * ``items`` -> int16 [height, 2·pairs], rows ``stride`` bytes apart;
    * ``best`` -> int32 [QUERY_WIDTH]: becomes its maximum with each query token's best inner product.

    ``pairs`` is a multiple of PAIRS_MULTIPLE and above 0. Sums must fit int32; no component may be -32768.
    """

    @intrinsic
    def tile(typing: Any, queries: Any, items: Any, best: Any, pairs: Any, stride: Any) -> Any:
        signature = types.void(types.uintp, types.uintp, types.uintp, types.intp, types.intp)
        return signature, _emitter(height)

    function: Callable[..., None] = tile
    return function


def make_product(height: int) -> Callable[..., None]:
    """As ``make_tile``, for ``height`` item tokens of as many items: their products are kept apart, without a maximum.

    ``product(queries, items, products, pairs, stride, apart)``: ``products`` -> int32 [height, QUERY_WIDTH], rows
    ``apart`` bytes apart, become the inner products.
    """

    @intrinsic
    def product(typing: Any, queries: Any, items: Any, products: Any, pairs: Any, stride: Any, apart: Any) -> Any:
        signature = types.void(types.uintp, types.uintp, types.uintp, types.intp, types.intp, types.intp)
        return signature, _product_emitter(height)

    function: Callable[..., None] = product
    return function


def _product_emitter(height: int) -> Callable[..., Any]:
    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        queries, items, products, pairs, stride, apart = arguments
        rows = [builder.add(items, builder.mul(stride, _int(t))) for t in range(height)]
        for t, row in enumerate(_emit_loop(builder, queries, rows, pairs)):
            place = builder.add(products, builder.mul(apart, _int(t)))
            for j, sums in enumerate(row):
                builder.store(sums, _pointer(builder, place, j * _REGISTER_BYTES, _SUMS)).align = 4
        return context.get_dummy_value()

    return emit


def _emitter(height: int) -> Callable[..., Any]:
    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        queries, items, best, pairs, stride = arguments
        rows = [builder.add(items, builder.mul(stride, _int(t))) for t in range(height)]
        sums = _emit_loop(builder, queries, rows, pairs)
        for j in range(QUERY_WIDTH // LANES):
            peak = sums[0][j]
            for row in sums[1:]:
                peak = _maximum(builder, peak, row[j])
            place = _pointer(builder, best, j * _REGISTER_BYTES, _SUMS)
            store = builder.store(_maximum(builder, peak, _load(builder, place, 4)), place)
            store.align = 4
        return context.get_dummy_value()

    return emit


def _emit_loop(builder: ir.IRBuilder, queries: Any, rows: list[Any], pairs: Any) -> list[list[Any]]:
    """The loop over pairs; returns the registers of sums, [height][2]. Goes on in the block behind the loop."""
    columns = range(QUERY_WIDTH // LANES)
    before = builder.block
    loop, after = builder.append_basic_block("pairs"), builder.append_basic_block("maximum")
    builder.branch(loop)
    builder.position_at_end(loop)
    pair = builder.phi(_I64)
    pair.add_incoming(_int(0), before)
    carried = [[builder.phi(_SUMS) for _ in columns] for _ in rows]
    sums: list[list[Any]] = [list(row) for row in carried]
    for turn in range(_UNROLL):
        place = builder.add(queries, builder.mul(builder.add(pair, _int(turn)), _int(len(columns) * _REGISTER_BYTES)))
        query = [_load(builder, _pointer(builder, place, j * _REGISTER_BYTES, _PAIRS), 2) for j in columns]
        for t, row in enumerate(rows):
            item = _repeated_pair(builder, builder.add(row, builder.shl(pair, _int(2))), 4 * turn)
            for j in columns:
                sums[t][j] = builder.add(sums[t][j], builder.call(_multiply_add(builder.module), [query[j], item]))
    following = builder.add(pair, _int(_UNROLL))
    pair.add_incoming(following, loop)
    for phis, values in zip(carried, sums, strict=True):
        for phi, value in zip(phis, values, strict=True):
            phi.add_incoming(ir.Constant(_SUMS, [0] * LANES), before)
            phi.add_incoming(value, loop)
    builder.cbranch(builder.icmp_signed("<", following, pairs), loop, after)
    builder.position_at_end(after)
    return sums


def _multiply_add(module: ir.Module) -> Any:
    name = "llvm.x86.avx2.pmadd.wd"
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(_SUMS, [_PAIRS, _PAIRS]), name)


def _repeated_pair(builder: ir.IRBuilder, address: Any, shift: int) -> Any:
    """Two components of an item token in every lane."""
    pair = _load(builder, _pointer(builder, address, shift, _I32), 2)
    undefined = ir.Constant(_SUMS, ir.Undefined)
    first = builder.insert_element(undefined, pair, ir.Constant(_I32, 0))
    repeated = builder.shuffle_vector(first, undefined, ir.Constant(_SUMS, [0] * LANES))
    return builder.bitcast(repeated, _PAIRS)


def _maximum(builder: ir.IRBuilder, a: Any, b: Any) -> Any:
    return builder.select(builder.icmp_signed(">", a, b), a, b)


def _pointer(builder: ir.IRBuilder, address: Any, shift: int, to: ir.Type) -> Any:
    return builder.inttoptr(builder.add(address, _int(shift)), to.as_pointer())


def _load(builder: ir.IRBuilder, pointer: Any, align: int) -> Any:
    value = builder.load(pointer)
    value.align = align
    return value


def _int(value: int) -> ir.Constant:
    return ir.Constant(_I64, value)
