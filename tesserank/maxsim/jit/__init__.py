"""The kernels that are compiled when first called, by numba: integer MaxSim and the aggregation of its scores.

Nothing here is imported unless ``available()``; without it, ``maxsim.cpu`` computes the same with NumPy, slower.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec


@cache
def available() -> bool:
    """Whether the kernels can run here: numba is installed and on, and compiles for a processor with AVX2."""
    return "avx2" in _features()


@cache
def has_vnni() -> bool:
    """Whether they may multiply with AVX-512's instructions for small integers, too."""
    return {"avx512bw", "avx512vnni"} <= _features()


@cache
def _features() -> frozenset[str]:
    """Of the processor that numba compiles for; it is not always the one it runs on, as its settings may say."""
    if find_spec("numba") is None:
        return frozenset()
    from numba import config
    from numba.core.registry import cpu_target

    if config.DISABLE_JIT:  # type: ignore[attr-defined]  # numba's settings come from the environment
        return frozenset()
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return frozenset(feature[1:] for feature in features.split(",") if feature.startswith("+"))
