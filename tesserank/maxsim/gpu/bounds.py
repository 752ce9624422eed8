"""How far the kernels may be from the float64 reference, from the types they round to.

With ``s = steps``, a packed row is ``r = fl(q·s / size)``, so a product's error is that of rounding the query, plus
that of adding up d products in float32:

    |<q, v> − size·fl(<r, c>)|  ≤  size·Σ_i |r_i − q_i·s_i/size|·|c_i|  +  d·u·size·Σ_i |r_i·c_i|       c: the item's
    numbers

A maximum adds nothing. Weights and sums of a unit's L tokens add (L + 2)·2^-24 of what is added up (Higham, Accuracy
and Stability of Numerical Algorithms, §3.1). u is 2^-23, not 2^-24: tensor cores may cut sums off instead of rounding
them. For fp8 queries it is 2^-13, since Hopper's keep that many bits of a sum (DeepSeek-V3, 2024, arXiv:2412.19437,
§3.3.2).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from tesserank.maxsim.gpu.items import STORAGE, DeviceItems
from tesserank.maxsim.gpu.query import query_type

# type -> relative error of rounding, absolute error near 0 of numbers up to the type's peak
_ROUNDING = {
    "float16": (2.0**-11, 2.0**-25),
    "bfloat16": (2.0**-7, 0.0),  # twice what rounding costs: the interpreter cuts off
    "fp8": (2.0**-4, 2.0**-10),
    "int8": (0.0, 0.505),  # a hundredth more than half a step, for the rounding before the rounding
}
# type -> relative error of each addition of a product on tensor cores
SUM = {"float16": 2.0**-23, "bfloat16": 2.0**-23, "fp8": 2.0**-13, "int8": 0.0}
FLOAT32 = 2.0**-24  # of a rounding


def error_bound(
    tokens: NDArray[np.float32], weights: NDArray[np.float32], starts: NDArray[np.int64], items: DeviceItems, wide: bool
) -> NDArray[np.float64]:
    """The largest error that each unit's score may have with any of ``items``, float64 [G]; arguments as ``pack``'s."""
    kind = query_type(items, wide)
    relative, absolute = _ROUNDING[kind]
    _, peak = STORAGE[kind]
    stepped = np.abs(tokens.astype(np.float64) * items.steps[: items.dim].cpu().numpy())
    sizes = stepped.max(axis=1, initial=0) / peak
    numbers = np.abs(items.vectors[:, : items.dim].to(torch.float64).cpu().numpy())
    largest = (stepped @ numbers.T).max(axis=1, initial=0)  # Σ |q·s|·|c| of the worst item
    total = numbers.sum(axis=1).max(initial=0)
    # The float32 products and quotients of packing are off by three roundings.
    rounding = (relative + 3 * FLOAT32) * largest + absolute * sizes * total
    summing = items.dim * SUM[kind] * (largest + rounding)
    lengths = np.diff(starts, append=len(tokens))
    adding = np.repeat(lengths + 2, lengths) * FLOAT32 * (largest + rounding)
    bound: NDArray[np.float64] = np.add.reduceat((rounding + summing + adding) * weights, starts)
    return 1.05 * bound  # for what is of second order
