"""The innermost loop of integer MaxSim: inner products of query and item tokens, and their maximum, in registers.

LLVM does not find this code by itself: written as loops, the products are widened to 32 bits before they are
multiplied, which is a quarter of what the processor can do. So the loop is built from LLVM's instructions, around the
one of an ``Arithmetic``.

A tile is so many packs of PACK query tokens by so many item tokens. For each step it loads a register (two of AVX2) a
pack, and for each item token one step, repeated in every lane; all sums stay in registers. The largest tiles have as
many sums as registers hold, so that loading takes less time than multiplying, and enough of them that no product waits
for the sum before it (four or five cycles). Measured, of the peak of int16 products: AVX2 2 × 4 and 2 × 6 registers of
sums 0.86, 3 × 4 half of it (it spills); VNNI (and of bytes) 1 × 4 0.7, 2 × 4 0.9, 4 × 3 and 4 × 4 0.99, 4 × 8 0.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tesserank.maxsim.jit.arithmetic import PACK, PACK_BYTES, STEP_BYTES, Arithmetic

_UNROLL = 2  # steps in a turn of the loop
STEPS_MULTIPLE = _UNROLL

_I16, _I32, _I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)


def make_tile(arithmetic: Arithmetic, height: int, packs: int) -> Callable[..., None]:
    """A function, to be called from compiled code alone, for ``height`` item tokens.

    ``tile(queries, items, best, steps, stride)``, the first three as addresses:

    * ``queries`` -> [packs, steps, PACK] of STEP_BYTES each, contiguous;
    * ``items`` -> [height, steps] of STEP_BYTES each, rows ``stride`` bytes apart;
    * ``best`` -> int32 [packs · PACK]: becomes its maximum with each query token's best inner product.

    ``steps`` is a multiple of STEPS_MULTIPLE and above 0. Sums must fit int32; no int16 may be -32768.
    """

    @intrinsic
    def tile(typing: Any, queries: Any, items: Any, best: Any, steps: Any, stride: Any) -> Any:
        signature = types.void(types.uintp, types.uintp, types.uintp, types.intp, types.intp)
        return signature, emit

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        queries, items, best, steps, stride = arguments
        rows = _Loop(arithmetic, builder, height, packs).emit(queries, items, steps, stride)
        for j, column in enumerate(zip(*rows, strict=True)):
            peak = column[0]
            for sums in column[1:]:
                peak = _maximum(builder, peak, sums)
            place = _pointer(builder, best, j * STEP_BYTES * arithmetic.lanes, _sums_type(arithmetic))
            builder.store(_maximum(builder, peak, _load(builder, place, 4)), place).align = 4
        return context.get_dummy_value()

    function: Callable[..., None] = tile
    return function


def make_product(arithmetic: Arithmetic, height: int) -> Callable[..., None]:
    """As ``make_tile``, for ``height`` item tokens of as many items: their products are kept apart, without a maximum.

    ``product(queries, items, products, steps, stride, apart)``, of one pack: ``products`` -> int32 [height, PACK], rows
    ``apart`` bytes apart, become the inner products.
    """

    @intrinsic
    def product(typing: Any, queries: Any, items: Any, products: Any, steps: Any, stride: Any, apart: Any) -> Any:
        signature = types.void(types.uintp, types.uintp, types.uintp, types.intp, types.intp, types.intp)
        return signature, emit

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        queries, items, products, steps, stride, apart = arguments
        for t, row in enumerate(_Loop(arithmetic, builder, height, 1).emit(queries, items, steps, stride)):
            place = builder.add(products, builder.mul(apart, _int(t)))
            for j, sums in enumerate(row):
                pointer = _pointer(builder, place, j * STEP_BYTES * arithmetic.lanes, _sums_type(arithmetic))
                builder.store(sums, pointer).align = 4
        return context.get_dummy_value()

    function: Callable[..., None] = product
    return function


class _Loop:
    """The loop over steps, of ``height`` item tokens by ``packs`` packs."""

    def __init__(self, arithmetic: Arithmetic, builder: ir.IRBuilder, height: int, packs: int) -> None:
        self._arithmetic, self._builder = arithmetic, builder
        self._height, self._packs = height, packs
        self._registers, self._sums = PACK // arithmetic.lanes, _sums_type(arithmetic)

    def emit(self, queries: Any, items: Any, steps: Any, stride: Any) -> list[list[Any]]:
        """Sums, by item token and register. What is emitted next is in the block behind the loop."""
        builder = self._builder
        columns = self._packs * self._registers
        rows = [builder.add(items, builder.mul(stride, _int(t))) for t in range(self._height)]
        pack_size = builder.mul(steps, _int(PACK_BYTES))
        packs = [builder.add(queries, builder.mul(pack_size, _int(p))) for p in range(self._packs)]
        before = builder.block
        loop, after = builder.append_basic_block("steps"), builder.append_basic_block("sums")
        builder.branch(loop)
        builder.position_at_end(loop)
        step = builder.phi(_I64)
        step.add_incoming(_int(0), before)
        carried = [[builder.phi(self._sums) for _ in range(columns)] for _ in rows]
        sums: Sequence[Sequence[Any]] = carried
        for turn in range(_UNROLL):
            sums = self._turn(packs, rows, step, turn, sums)
        following = builder.add(step, _int(_UNROLL))
        step.add_incoming(following, loop)
        for phis, values in zip(carried, sums, strict=True):
            for phi, value in zip(phis, values, strict=True):
                phi.add_incoming(ir.Constant(self._sums, [0] * self._arithmetic.lanes), before)
                phi.add_incoming(value, loop)
        builder.cbranch(builder.icmp_signed("<", following, steps), loop, after)
        builder.position_at_end(after)
        return [list(row) for row in sums]

    def _turn(
        self, packs: Sequence[Any], rows: Sequence[Any], step: Any, turn: int, sums: Sequence[Sequence[Any]]
    ) -> list[list[Any]]:
        """One step: ``sums`` with its products added."""
        builder = self._builder
        queries = []
        for pack in packs:
            place = builder.add(pack, builder.mul(builder.add(step, _int(turn)), _int(PACK_BYTES)))
            for j in range(self._registers):
                pointer = _pointer(builder, place, j * STEP_BYTES * self._arithmetic.lanes, self._sums)
                queries.append(_load(builder, pointer, 4))
        added = []
        for row, own in zip(rows, sums, strict=True):
            item = self._repeated(builder.add(row, builder.shl(step, _int(2))), STEP_BYTES * turn)
            added.append([self._multiply_add(total, query, item) for total, query in zip(own, queries, strict=True)])
        return added

    def _repeated(self, address: Any, shift: int) -> Any:
        """A step of an item token in every lane."""
        builder, sums = self._builder, self._sums
        step = _load(builder, _pointer(builder, address, shift, _I32), 1)
        undefined = ir.Constant(sums, ir.Undefined)
        first = builder.insert_element(undefined, step, ir.Constant(_I32, 0))
        return builder.shuffle_vector(first, undefined, ir.Constant(sums, [0] * self._arithmetic.lanes))

    def _multiply_add(self, total: Any, query: Any, item: Any) -> Any:
        builder, arithmetic, sums = self._builder, self._arithmetic, self._sums
        if (
            arithmetic.fused
        ):  # LLVM takes these operands as int32, and the item, where signs differ, as the unsigned one
            return builder.call(_declared(builder.module, arithmetic, [sums] * 3), [total, item, query])
        pairs = ir.VectorType(_I16, 2 * arithmetic.lanes)
        multiply_add = _declared(builder.module, arithmetic, [pairs] * 2)
        operands = [builder.bitcast(operand, pairs) for operand in (query, item)]
        return builder.add(total, builder.call(multiply_add, operands))


def _sums_type(arithmetic: Arithmetic) -> ir.VectorType:
    return ir.VectorType(_I32, arithmetic.lanes)


def _declared(module: ir.Module, arithmetic: Arithmetic, operands: Sequence[ir.Type]) -> Any:
    name = arithmetic.instruction
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(_sums_type(arithmetic), operands), name)


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
