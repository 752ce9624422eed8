"""What load one process of the load test can make, and how soon its report is there: on a server that does nothing.

The server is the load test's stub, in a process of its own: with two cores each has one.
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

from tesserank_bench.errors import BenchmarkError
from tesserank_bench.figures import Target
from tesserank_bench.results import deliver
from tesserank_evaluation.conditions import Machine

NAME = "loadtest"
ITEMS = 12_000
RATES = (500, 1000, 1500, 2000)
USERS = 32
SUSTAINED = Target("arrivals that one process sustains", 1500, "requests/s")
PROMPT = Target("seconds from the last answer to the report", 5, "s", at_least=False)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``tesserank bench loadtest``."""
    parser.add_argument("--seconds", type=int, default=20, metavar="S", help="of each load (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Measure, save the result and print the verdicts. Returns 0, whatever they are."""
    machine = Machine(args.seed)
    seconds = 3 if args.quick else args.seconds
    with _null_server() as url, tempfile.TemporaryDirectory() as folder:
        items = Path(folder) / "items.txt"
        items.write_text("\n".join(f"item-{number:05}" for number in range(ITEMS)), encoding="utf-8")
        common = ["--grpc-url", url, "--workload", str(items), "--seed", str(args.seed), "--duration", str(seconds)]
        loads = [_load([*common, "--rate", str(rate)], Path(folder) / str(rate), {"rate": rate}) for rate in RATES]
        loads.append(_load([*common, "--users", str(USERS)], Path(folder) / "closed", {"users": USERS}))
    sustained = [load["throughput_per_s"] for load in loads if load.get("rate") and load["kept"]]
    slowest = max(load["report_after_s"] for load in loads)
    targets = [SUSTAINED.judge(max(sustained, default=0.0)), PROMPT.judge(slowest)]
    for load in loads:
        print(json.dumps(load))
    for target in targets:
        print(f"{target['name']}: {target['value']} {target['unit']}, {target['target']}: {target['verdict']}")
    deliver(args, NAME, {"conditions": machine.conditions(), "seconds": seconds, "loads": loads, "targets": targets})
    return 0


def _load(arguments: list[str], out: Path, what: dict[str, Any]) -> dict[str, Any]:
    """One run of ``tesserank loadtest`` in a process of its own. ``kept``: all was sent, 99% of it within 10 ms."""
    command = [sys.executable, "-m", "tesserank", "loadtest", *arguments, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ended = time.time()
    if not (out / "result.json").exists():
        raise BenchmarkError(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr}")
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    figures, generator = result["figures"]["all"], result["generator"]
    kept = {"kept": result["verdicts"]["valid"]} if "rate" in what else {}
    return (
        what
        | kept
        | {
            **{name: figures[name] for name in ("requests", "failed", "throughput_per_s", "p50_ms", "p99_ms")},
            **{name: generator[name] for name in ("unsent", "lag_p50_ms", "lag_p99_ms", "lag_max_ms", "generator_cpu")},
            "report_after_s": round(ended - result["last_answer_at"], 2),
        }
    )


@contextmanager
def _null_server() -> Iterator[str]:
    command = [sys.executable, "-m", "tesserank_loadtest.stub_server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        if server.stdin is None or server.stdout is None:
            raise BenchmarkError("the stub server has no pipes")
        yield server.stdout.readline().strip()
        server.stdin.close()
