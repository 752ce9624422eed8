"""exp and log of float32, of operations that LLVM turns into SIMD; a call into the C library for each number is none.

Polynomials and their coefficients: S. Moshier, Cephes mathematical library, ``single/expf.c`` and ``single/logf.c``.
Tests hold both to one unit in the last place over their range.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_f = np.float32
_LOWEST = _f(-87.0)  # below, 2 ** n would be subnormal
_SHIFT = _f(1.5 * 2**23)  # added to a number below 2 ** 22, it rounds it to a whole one, found in the lowest bits
_SHIFT_BITS = 0x4B400000
_LOG2_E = _f(1.44269504088896341)
_LN_2_HIGH, _LN_2_LOW = _f(0.693359375), _f(-2.12194440e-4)  # the first has few bits: n times it is exact
_E = tuple(map(_f, (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5)))
_SQRT_HALF_BITS = 0x3F3504F3
_FRACTION_BITS, _BIAS = 23, 127
_I32 = ir.IntType(32)
_L = tuple(
    map(
        _f,
        (7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
         -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1),
    )
)  # fmt: skip


# numba widens sums of int32 to int64, which SIMD has little for: what looks into the bits is LLVM's own instructions.


def _of_bits(emit: Callable[[ir.IRBuilder, Any], Any]) -> Any:
    """A function of a float32 to a float32, to be called from compiled code alone."""

    @intrinsic
    def function(typing: Any, x: Any) -> Any:
        def emit_call(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            return emit(builder, arguments[0])

        return types.float32(types.float32), emit_call

    return function


def _emit_power(builder: ir.IRBuilder, shifted: Any) -> Any:
    biased = builder.add(builder.bitcast(shifted, _I32), ir.Constant(_I32, _BIAS - _SHIFT_BITS))
    return builder.bitcast(builder.shl(biased, ir.Constant(_I32, _FRACTION_BITS)), ir.FloatType())


def _emit_exponent_bits(builder: ir.IRBuilder, x: Any) -> Any:
    above = builder.sub(builder.bitcast(x, _I32), ir.Constant(_I32, _SQRT_HALF_BITS))
    return builder.ashr(above, ir.Constant(_I32, _FRACTION_BITS))


def _emit_exponent(builder: ir.IRBuilder, x: Any) -> Any:
    return builder.sitofp(_emit_exponent_bits(builder, x), ir.FloatType())


def _emit_significand(builder: ir.IRBuilder, x: Any) -> Any:
    exponent = builder.shl(_emit_exponent_bits(builder, x), ir.Constant(_I32, _FRACTION_BITS))
    return builder.bitcast(builder.sub(builder.bitcast(x, _I32), exponent), ir.FloatType())


_power_of_two = _of_bits(_emit_power)  # 2 ** n for n whole, given as n + _SHIFT
_exponent = _of_bits(_emit_exponent)  # the whole n for which x / 2 ** n lies between √½ and √2
_significand = _of_bits(_emit_significand)  # that x / 2 ** n


@njit(nogil=True, inline="always")
def rounded(x: Any) -> Any:
    """The nearest whole number, of halves the even one; for |x| < 2 ** 22."""
    return (x + _SHIFT) - _SHIFT


@njit(nogil=True, inline="always")
def exp(x: Any) -> Any:
    """e ** x for x <= 0; below -87, where a float32 can hold no more, e ** -87."""
    x = x if not x < _LOWEST else _LOWEST
    shifted = x * _LOG2_E + _SHIFT
    n = shifted - _SHIFT
    r = x - n * _LN_2_HIGH - n * _LN_2_LOW
    p = ((((_E[0] * r + _E[1]) * r + _E[2]) * r + _E[3]) * r + _E[4]) * r + _E[5]
    return (p * r * r + r + _f(1)) * _power_of_two(shifted)


@njit(nogil=True, inline="always")
def log(x: Any) -> Any:
    """The natural logarithm of a normal x > 0."""
    r = _significand(x) - _f(1)
    z = r * r
    p = ((((_L[0] * r + _L[1]) * r + _L[2]) * r + _L[3]) * r + _L[4]) * r + _L[5]
    p = (((p * r + _L[6]) * r + _L[7]) * r + _L[8]) * r * z
    n = _exponent(x)
    return (p + n * _LN_2_LOW - _f(0.5) * z + r) + n * _LN_2_HIGH
