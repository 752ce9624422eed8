"""What the machine can do at most, as entries for a worker and as figures of a result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tesserank_bench.kernels.plan import THREADS
from tesserank_bench.kernels.workers import Entry, TimedCase, Worker

Key = dict[str, Any]
COPIED_BYTES = 1 << 28  # far beyond any cache
PROMISING = 0.7  # of the best: who is slower in the trial will not become the ceiling
TRIALS = 2
FP32, BF16, INT8, COPY = "fp32 gemm", "bf16 gemm", "int8 gemm", "memory copy"
_MODULE = "tesserank_bench.kernels.contestants.ceilings"
# Whoever multiplies a format: its best counts.
_CONTESTANTS = {
    FP32: (("numpy", "NumpyFloat32"), ("torch", "TorchGemm")),
    BF16: (("torch", "TorchBfloat16"),),
    INT8: (("onnxruntime u8s8", "OnnxInt8"), ("torch", "TorchInt8")),
}
TRIAL = (256, 256, 256)
# Squares, where libraries are at their best, and a block of item tokens × d against a user's tokens: MaxSim's own.
SIZES = ((1_024, 1_024, 1_024), (2_048, 2_048, 2_048), (8_192, 128, 160))
LONGEST_S = 0.5  # of a call: without instructions for a format, a library may be a hundred times slower


def open_cases(worker: Worker, sample_s: float) -> list[TimedCase]:
    """All of them, ready to be timed; of products that take LONGEST_S only the trial, which has been timed once."""
    cases = []
    for threads in THREADS:
        for name, contestants in _CONTESTANTS.items():
            for by, attribute in contestants:
                trial, *others = (_gemm(name, by, attribute, sizes, threads) for sizes in (TRIAL, *SIZES))
                cases.append(_opened(worker, *trial, sample_s))
                cases[-1].run(0)
                pace = cases[-1].seconds[0] / _work(cases[-1].key)
                for key, entry in others:
                    if _work(key) * pace < LONGEST_S:
                        cases.append(_opened(worker, key, entry, sample_s))
        key = {"ceiling": COPY, "by": "numpy", "threads": threads}
        cases.append(
            _opened(
                worker, key, Entry(str(key), f"{_MODULE}:Copy", {"size": COPIED_BYTES, "threads": threads}), sample_s
            )
        )
    return cases


def _gemm(name: str, by: str, attribute: str, sizes: tuple[int, int, int], threads: int) -> tuple[Key, Entry]:
    key: Key = {"ceiling": name, "by": by, "sizes": sizes, "threads": threads}
    options = dict(zip(("rows", "depth", "columns"), sizes, strict=True)) | {"threads": threads}
    return key, Entry(str(key), f"{_MODULE}:{attribute}", options)


def _opened(worker: Worker, key: Key, entry: Entry, sample_s: float) -> TimedCase:
    worker.open(entry)
    return TimedCase(key, TRIALS, worker, entry.name, sample_s)


def promising(cases: Sequence[TimedCase]) -> list[TimedCase]:
    """Of cases that were tried: those that may turn out the best of their ceiling, with as many threads."""
    best: dict[tuple[str, int], float] = {}
    rates = [_work(case.key) / min(case.seconds) for case in cases]
    for case, rate in zip(cases, rates, strict=True):
        kind = case.key["ceiling"], case.key["threads"]
        best[kind] = max(rate, best.get(kind, 0.0))
    return [
        case
        for case, rate in zip(cases, rates, strict=True)
        if rate >= PROMISING * best[case.key["ceiling"], case.key["threads"]]
    ]


def figures(cases: Sequence[TimedCase]) -> list[dict[str, Any]]:
    """Of each ceiling the best call: billions of operations a second, or gigabytes copied (read once, written once)."""
    found = []
    for case in cases:
        if case.seconds:
            best = min(case.seconds)
            found.append(case.key | {_unit(case.key): round(_work(case.key) / best / 1e9, 2)} | case.samples)
    return found


def peak(ceilings: Sequence[dict[str, Any]], names: Sequence[str], threads: int) -> float | None:
    """The best of some gemms, in GOP/s; None if none was measured."""
    found = [entry["gops"] for entry in ceilings if entry["ceiling"] in names and entry["threads"] == threads]
    return max(found, default=None)


def copy_rate(ceilings: Sequence[dict[str, Any]], threads: int) -> float | None:
    """Gigabytes copied a second."""
    found = [entry["gb_s"] for entry in ceilings if entry["ceiling"] == COPY and entry["threads"] == threads]
    return max(found, default=None)


def _unit(key: dict[str, Any]) -> str:
    return "gb_s" if key["ceiling"] == COPY else "gops"


def _work(key: dict[str, Any]) -> int:
    """Operations, or bytes, of one call: a multiplication and an addition are two."""
    if key["ceiling"] == COPY:
        return COPIED_BYTES
    rows, depth, columns = key["sizes"]
    return int(2 * rows * depth * columns)
