"""What a measurement was taken on: without it a number says nothing."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from threadpoolctl import threadpool_info

from tesserank.paths import CHECKOUT

# Distributions whose versions decide what a benchmark measures; those not installed are left out.
PACKAGES = (
    "tesserank",
    "tesserank-client",
    "nvidia-pytriton",
    "tritonclient",
    "grpcio",
    "onnxruntime",
    "numba",
    "llvmlite",
    "faiss-cpu",
    "torch",
    "triton",
    "flash-maxsim",
    "late-interaction-kernels",
    "transformers",
    "tokenizers",
    "gensim",
    "implicit",
    "scikit-learn",
    "scipy",
    "numpy",
    "psutil",
)
# Of x86-64: those that a matrix kernel would use.
INSTRUCTION_SETS = (
    "sse4_2",
    "avx",
    "f16c",
    "fma",
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def conditions(seed: int, threads: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Hardware, software, commit and seed of a run that begins now; ``threads`` is what the benchmark itself sets."""
    cpu = _cpu_info()
    return {
        "cpu": cpu["model name"],
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in cpu["flags"].split()],
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "os": platform.platform(),
        "python": platform.python_version(),
        "versions": _versions(),
        "blas": _blas(),
        "threads": dict(threads or {}) | {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain")),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seed": seed,
        "load_before": round(os.getloadavg()[0], 2),
    }


class Machine:
    """How disturbed a run was: ``conditions`` of its beginning, and what happened on the machine until its end."""

    def __init__(self, seed: int, threads: Mapping[str, int] | None = None) -> None:
        self._before = conditions(seed, threads)
        self._started = time.perf_counter()
        self._times = psutil.cpu_times()

    def conditions(self) -> dict[str, Any]:
        """The conditions, with the seconds so far, the load now, and the share of CPU time that the host took away."""
        times = psutil.cpu_times()
        passed = [getattr(times, name) - getattr(self._times, name) for name in times._fields]
        stolen = getattr(times, "steal", 0.0) - getattr(self._times, "steal", 0.0)
        return self._before | {
            "seconds": round(time.perf_counter() - self._started, 1),
            "load_after": round(os.getloadavg()[0], 2),
            "steal_share": round(stolen / max(sum(passed), 1e-9), 4),
        }


def _cpu_info() -> dict[str, str]:
    """The first processor of /proc/cpuinfo."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    lines = [line.partition(":") for line in text.splitlines()]
    found = {name.strip(): value.strip() for name, _, value in lines}
    return {"model name": platform.processor(), "flags": found.get("Features", "")} | found


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _blas() -> dict[str, Any]:
    """What numpy multiplies matrices with: what it was built with, and threads and kernels in this process."""
    show: Any = np.show_config  # numpy's annotations lack the mode
    built = show(mode="dicts")["Build Dependencies"]["blas"]
    running = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return {
        "built_with": f"{built['name']} {built['version']}",
        "loaded": [
            {key: pool.get(key) for key in ("internal_api", "version", "architecture", "num_threads")}
            for pool in running
        ],
    }


def _git(*arguments: str) -> str:
    """Output of git in the checkout; "" where this is none."""
    done = subprocess.run(["git", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
