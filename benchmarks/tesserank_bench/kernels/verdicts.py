"""Targets of this benchmark, and which of them a result meets. Ratios of one run; see docs/benchmarks-kernels.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tesserank_bench.figures import Target
from tesserank_bench.kernels.ceilings import BF16, FP32, INT8, peak
from tesserank_bench.kernels.encoder import SEGMENTS, SESSIONS, efficiency
from tesserank_bench.kernels.maxsim import COARSE
from tesserank_bench.kernels.plan import BASE

Result = dict[str, Any]
Figure = Callable[[Result], float | None]
LOW_PRECISION = (BF16, INT8)


def verdicts(result: Result) -> list[dict[str, Any]]:
    """Each target with the figure of this result and whether it is met; what was not measured is said too."""
    return [target.judge(figure(result)) for target, figure in TARGETS]


def own_gops(result: Result, vectors: str, threads: int) -> float | None:
    """What MaxSim of BASE's shape reached with all items, in GOP/s."""
    for entry in result.get("maxsim", []):
        base = entry["shape"] == vars(BASE) and not entry["candidates"]
        if base and (entry["vectors"], entry["threads"]) == (vectors, threads):
            return float(entry["gops"])
    return None


def _of_peak(names: tuple[str, ...], threads: int) -> Figure:
    def figure(result: Result) -> float | None:
        fastest = max(own_gops(result, vectors, threads) or 0.0 for vectors in ("int8", COARSE))
        most = peak(result.get("ceilings", []), names, threads)
        return fastest / most if fastest and most else None

    return figure


def _efficiency(texts: str) -> Figure:
    return lambda result: efficiency(result.get("encoder", []), texts)


TARGETS: tuple[tuple[Target, Figure], ...] = (
    (Target("MaxSim int8 / fp32 gemm peak, 1 thread", 1.5, "×"), _of_peak((FP32,), 1)),
    (Target("MaxSim int8 / fp32 gemm peak, 2 threads", 1.5, "×"), _of_peak((FP32,), 2)),
    (Target("MaxSim int8 / int8 or bf16 gemm peak, 1 thread", 0.65, ""), _of_peak(LOW_PRECISION, 1)),
    (Target("MaxSim int8 / int8 or bf16 gemm peak, 2 threads", 0.65, ""), _of_peak(LOW_PRECISION, 2)),
    (Target(f"encoder through Triton / raw onnxruntime, {SEGMENTS}", 0.9, ""), _efficiency(SEGMENTS)),
    (Target(f"encoder through Triton / raw onnxruntime, {SESSIONS}", 0.9, ""), _efficiency(SESSIONS)),
)
