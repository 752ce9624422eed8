"""MaxSim on an NVIDIA GPU: ceilings of the machine, our kernels, and other libraries where they are installed.

``--tests`` first runs the GPU's tests there. Nothing is downloaded: torch with CUDA, triton, numpy, rich, psutil and
threadpoolctl must be there, pytest and hypothesis for the tests. flash-maxsim and late-interaction-kernels are measured
if they are.
"""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console
from rich.table import Table

from tesserank.errors import ConfigError
from tesserank.paths import BUILD
from tesserank_bench.gpu import plan, suite
from tesserank_bench.gpu.verdicts import verdicts
from tesserank_bench.results import deliver
from tesserank_evaluation.conditions import Machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``tesserank bench gpu``."""
    parser.add_argument("--tests", action="store_true", help="run the GPU's tests first, and count them in the result")
    parser.add_argument("--tune", action="store_true", help="time other tiles of the kernel too (minutes)")
    parser.add_argument("--commit", metavar="HASH", help="what is measured, where the checkout has no .git")


def run(args: argparse.Namespace) -> int:
    """Test, measure and save. Exit status 0, or 1 if a test failed. Raises ConfigError without a GPU."""
    device = require_gpu()
    console = Console(soft_wrap=True, highlight=False)
    machine = Machine(args.seed)
    result: dict[str, Any] = {"benchmark": "gpu", "quick": args.quick, "gpu": describe(device)}
    if args.tests:
        result["tests"] = suite.run(BUILD / "bench" / "gpu-tests.xml")
    result |= measure(args, device, console)
    result["conditions"] = machine.conditions()
    if args.commit:
        result["conditions"]["commit"] = args.commit
    show(console, result)
    deliver(args, f"gpu-{file_name(result['gpu']['name'])}", result)
    broken = result.get("tests", {})
    return 1 if broken.get("failures") or broken.get("errors") else 0


def require_gpu() -> Any:
    """The device to measure on. Raises ConfigError saying what is missing."""
    try:
        import torch
        import triton  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(f"no module {error.name}: on a machine with an NVIDIA GPU, pip install torch") from error
    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU build"
        raise ConfigError(
            f"no NVIDIA GPU: torch {torch.__version__} ({built}) finds none. Run this where nvidia-smi shows a GPU and "
            "torch.cuda.is_available() is true; make gpu-check GPU_PYTHON=/path/to/python chooses the interpreter"
        )
    return torch.device("cuda")


def describe(device: Any) -> dict[str, Any]:
    """The GPU, and the CUDA that torch was built for."""
    import torch

    found = torch.cuda.get_device_properties(device)
    return {
        "name": found.name,
        "capability": f"{found.major}.{found.minor}",
        "memory_gib": round(found.total_memory / 2**30, 1),
        "multiprocessors": found.multi_processor_count,
        "cuda": torch.version.cuda,
    }


def measure(args: argparse.Namespace, device: Any, console: Console) -> dict[str, Any]:
    """``ceilings``, ``shapes`` and ``targets``."""
    from tesserank_bench.gpu import ceilings, timing
    from tesserank_bench.gpu.run import Bench

    sizes = (plan.QUICK_COPY_BYTES, plan.QUICK_GEMM) if args.quick else (plan.COPY_BYTES, plan.GEMM)
    peaks = ceilings.measure(timing.on_the_gpu, device, *sizes)
    bench = Bench(device, timing.on_the_gpu, timing.in_a_graph, args.seed, args.tune)
    shapes = bench.shapes(plan.QUICK if args.quick else plan.FULL, peaks, console.print)
    return {"ceilings": peaks, "shapes": shapes, "targets": verdicts(shapes)}


def file_name(gpu: str) -> str:
    """``NVIDIA H200`` as part of a file's name: ``nvidia-h200``."""
    return "-".join("".join(c if c.isalnum() else " " for c in gpu.lower()).split())


def show(console: Console, result: dict[str, Any]) -> None:
    """The figures, as tables."""
    times = Table("shape", "what", "ms", title=result["gpu"]["name"])
    for shape in result["shapes"]:
        for name, seconds in shape.get("seconds", {"": shape.get("not_measured", "")}).items():
            times.add_row(shape["name"], name, seconds if isinstance(seconds, str) else f"{1e3 * seconds:.3f}")
    targets = Table("shape", "target", "found", "verdict")
    for entry in result["targets"]:
        found = "" if entry["found"] is None else f"{entry['found']:.3g}"
        targets.add_row(entry["shape"], entry["target"], found, entry["verdict"])
    console.print(times, targets, result["ceilings"], result.get("tests", "tests: not run"))
