"""The kernels that are compiled when first called, by numba: integer MaxSim and the aggregation of its scores.

Nothing here is imported unless ``available()``; without it, ``maxsim.cpu`` computes the same with NumPy, slower.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec


@cache
def available() -> bool:
    """Whether the kernels can run here: numba is installed and on, and compiles for a processor with AVX2."""
    if find_spec("numba") is None:
        return False
    from numba import config
    from numba.core.registry import cpu_target

    if config.DISABLE_JIT:  # type: ignore[attr-defined]  # numba's settings come from the environment
        return False
    # What it compiles for is not always the processor it runs on: its settings may say otherwise.
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return "+avx2" in features.split(",")
