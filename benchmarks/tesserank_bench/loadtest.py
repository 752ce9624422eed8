"""What load one process of the load test can make, and how soon its report is there: on a server that does nothing.

The server is the load test's stub, in a process of its own on the same machine: what it takes of the cores is told.
The load of the target's rate lasts a minute, as the target for the report says.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tesserank_bench.errors import BenchmarkError
from tesserank_bench.figures import Target
from tesserank_bench.loadtest_run import run_loadtest
from tesserank_bench.results import deliver
from tesserank_evaluation.conditions import Machine

NAME = "loadtest"
ITEMS = 12_000
RATES = (1000, 1500, 2000)
USERS = 32
MINUTE_S = 60
SUSTAINED = Target("arrivals that one process sustains", 1500, "requests/s")
PROMPT = Target("seconds from the last answer to the report", 5, "s", at_least=False)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``tesserank bench loadtest``."""
    parser.add_argument("--seconds", type=int, default=20, metavar="S", help="of the other loads (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Measure, save the result and print the verdicts. Returns 0, whatever they are."""
    machine = Machine(args.seed)
    seconds, longest = (3, 3) if args.quick else (args.seconds, MINUTE_S)
    loads: list[dict[str, Any]] = [{"rate": r, "seconds": longest if r == SUSTAINED.bound else seconds} for r in RATES]
    loads.append({"users": USERS, "seconds": seconds})
    with _null_server() as (url, server), tempfile.TemporaryDirectory() as folder:
        items = Path(folder) / "items.txt"
        items.write_text("\n".join(f"item-{number:05}" for number in range(ITEMS)), encoding="utf-8")
        common = ["--grpc-url", url, "--workload", str(items), "--seed", str(args.seed)]
        for number, load in enumerate(loads):
            load |= _measure(load, common, Path(folder) / str(number), server)
    sustained = [load["rate"] for load in loads if load.get("kept")]
    slowest = max(load["report_after_s"] for load in loads)
    targets = [SUSTAINED.judge(max(sustained, default=0.0)), PROMPT.judge(slowest)]
    for load in loads:
        print(json.dumps(load))
    for target in targets:
        print(f"{target['name']}: {target['value']} {target['unit']}, {target['target']}: {target['verdict']}")
    deliver(args, NAME, {"conditions": machine.conditions(), "loads": loads, "targets": targets})
    return 0


def _measure(load: dict[str, Any], common: list[str], out: Path, server: psutil.Process) -> dict[str, Any]:
    """One run of ``tesserank loadtest`` in a process of its own. ``kept``: all was sent, 99% of it within 10 ms."""
    mode, value = next(iter(load.items()))
    options = [f"--{mode}", str(value), "--duration", str(load["seconds"])]
    before = _cpu_s(server)
    result = run_loadtest([*common, *options], out)
    ended = time.time()
    figures, generator = result["figures"]["all"], result["generator"]
    return {
        **({"kept": result["verdicts"]["valid"]} if mode == "rate" else {}),
        **{name: figures[name] for name in ("requests", "failed", "throughput_per_s", "p50_ms", "p99_ms")},
        **{name: generator[name] for name in ("unsent", "lag_p50_ms", "lag_p99_ms", "lag_max_ms", "generator_cpu")},
        "server_cpu": (_cpu_s(server) - before) / result["seconds"],
        "report_after_s": round(ended - result["last_answer_at"], 2),
    }


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def _null_server() -> Iterator[tuple[str, psutil.Process]]:
    """Its address and its process."""
    command = [sys.executable, "-m", "tesserank_loadtest.stub_server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        if server.stdin is None or server.stdout is None:
            raise BenchmarkError("the stub server has no pipes")
        yield server.stdout.readline().strip(), psutil.Process(server.pid)
        server.stdin.close()
