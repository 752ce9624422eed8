"""The load test beside NVIDIA's perf_analyzer: the same requests, over gRPC, in a closed loop, on the same server.

Each load is warmed up until what its requests have in common is cached, and then sent in rounds by one and by the
other, whose turn it is to be first. perf_analyzer, a C++ program, is no dependency: `make perf-analyzer` fetches it.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tesserank.paths import MODEL_REPOSITORY
from tesserank_bench.cross_check.comparison import OURS, THEIRS, Comparison, Round, compare, explain
from tesserank_bench.cross_check.input_data import write_input_data
from tesserank_bench.cross_check.perf_analyzer import ClosedLoop, Figures, PerfAnalyzer, find_perf_analyzer
from tesserank_bench.errors import BenchmarkError
from tesserank_bench.loadtest_run import run_loadtest
from tesserank_bench.results import deliver
from tesserank_evaluation.conditions import Machine
from tesserank_loadtest.plan import Model, WorkloadOptions
from tesserank_loadtest.scenario import load_scenario
from tesserank_loadtest.target import Urls, check_url, started_or_running
from tesserank_loadtest.workload import Workload, load_workload

NAME = "loadtest-cross-check"
SCENARIO = "ecommerce"
TIMEOUT_S = 5.0
TOP_K = 10
WARM_UP = 2  # times as long as a round: the rounds send no request that is new


@dataclass(frozen=True)
class Load:
    """So many users, each of whom asks a model, for so many candidates, again and again."""

    model: Model
    candidates: int
    users: int

    @property
    def top_k(self) -> int:
        """Items wanted."""
        return min(TOP_K, self.candidates)

    def __str__(self) -> str:
        return f"{self.model}, {self.candidates} candidates, {self.users} at a time"


# One at a time: what the clients themselves take. Four: they and the server share the cores. The cross-encoder: a
# server beside which no client counts.
LOADS = (Load("recommend", 100, 1), Load("recommend", 100, 4), Load("cross_encoder", 2, 2))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``tesserank bench loadtest-cross-check``."""
    parser.add_argument("--perf-analyzer", type=Path, metavar="FILE", help="default: build/perf_analyzer, else PATH")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="of each load (%(default)s)")
    parser.add_argument("--seconds", type=int, default=10, metavar="S", help="of a load in a round (%(default)s)")
    parser.add_argument("--grpc-url", metavar="HOST:PORT", help="of a running server (default: 127.0.0.1:8001, if any)")
    parser.add_argument(
        "--model-repository", type=Path, default=MODEL_REPOSITORY, metavar="DIR", help="else one is started on"
    )
    parser.add_argument("--workload", type=Path, metavar="PATH", help="items to request (default: the repository's)")


def run(args: argparse.Namespace) -> int:
    """Measure, save the result and print the comparison. Returns 0, whatever it is.

    Raises:
        ConfigError, ArtifactError, DataError: No perf_analyzer, or no items to request.
        ServerError: There is no server to load.
        BenchmarkError: Either program failed, or a request did.
    """
    rounds, seconds = (1, 2) if args.quick else (args.rounds, args.seconds)
    program = find_perf_analyzer(args.perf_analyzer)
    named: Urls = {"grpc": check_url("--grpc-url", args.grpc_url, allow_remote=False)} if args.grpc_url else {}
    items = (args.workload or args.model_repository).resolve()
    machine = Machine(args.seed)
    console = Console(soft_wrap=True, highlight=False)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        perf_analyzer = PerfAnalyzer(program, folder)
        version = perf_analyzer.version()
        loads: list[dict[str, Any]] = []
        log = folder / "server.log"
        with started_or_running(named, None, ("grpc",), args.model_repository, log, console.print) as target:
            for load in LOADS:
                check = Check(load, items, args.seed, target.urls["grpc"], perf_analyzer, folder / str(len(loads)))
                loads.append(check.run(rounds, seconds))
                console.print(*_shown(load, loads[-1]), sep="\n")
    deliver(args, NAME, {"conditions": machine.conditions(), "perf_analyzer": version, "loads": loads})
    return 0


@dataclass(frozen=True)
class Check:
    """One load on a server, by both; files go to ``folder``, which is made."""

    load: Load
    items: Path
    seed: int
    url: str
    perf_analyzer: PerfAnalyzer
    folder: Path

    def run(self, rounds: int, seconds: int) -> dict[str, Any]:
        """Rounds and comparison of the load, as the result has them."""
        self.folder.mkdir()
        warm = self._tesserank(seconds * WARM_UP, "warm-up")
        requests = max(1, int(warm["requests"] / WARM_UP))
        data = self.folder / "input.json"
        workload = self._workload()
        write_input_data([workload.prepare(turn, self.load.model) for turn in workload.stretch(requests)], data)
        results = [self._round(number, seconds, requests, data) for number in range(rounds)]
        compared: list[Round] = [{OURS: each[OURS], THEIRS: _theirs(each[THEIRS])} for each in results]
        return {
            "load": asdict(self.load),
            "requests": requests,
            "rounds": results,
            "comparison": [asdict(each) for each in compare(compared)],
            "explanation": explain(self.load.users, compared),
        }

    def _round(self, number: int, seconds: int, requests: int, data: Path) -> dict[str, Any]:
        def ours() -> Mapping[str, Any]:
            return self._tesserank(seconds, str(number))

        def theirs() -> Mapping[str, Any]:
            loop = ClosedLoop(self.url, self.load.model, data, self.load.users, requests, TIMEOUT_S)
            return self.perf_analyzer.run(loop, self.folder / f"{number}-{THEIRS}")

        order = [(OURS, ours), (THEIRS, theirs)]
        return {name: measure() for name, measure in (order if number % 2 == 0 else reversed(order))}

    def _tesserank(self, seconds: int, name: str) -> dict[str, float]:
        """The figures of a closed loop, of which no request may fail."""
        load = ["--model", self.load.model, "--candidates", str(self.load.candidates), "--users", str(self.load.users)]
        options = ["--grpc-url", self.url, "--workload", str(self.items), "--scenario", SCENARIO, *load]
        options += ["--top-k", str(self.load.top_k), "--seed", str(self.seed)]
        result = run_loadtest([*options, "--duration", str(seconds), "--timeout", str(TIMEOUT_S)], self.folder / name)
        figures: dict[str, float] = result["figures"]["all"]
        if figures["failed"] or not result["verdicts"]["valid"]:
            raise BenchmarkError(f"{self.load}: {result['verdicts']['reasons'] or result['errors']}")
        return figures | {"generator_cpu": result["generator"]["generator_cpu"]}

    def _workload(self) -> Workload:
        scenario = replace(load_scenario(SCENARIO), candidates=self.load.candidates, top_k=self.load.top_k)
        return load_workload(WorkloadOptions(self.items, scenario, seed=self.seed))


def _theirs(figures: Mapping[str, Figures]) -> Figures:
    """What perf_analyzer reports; but it counts its requests by whole seconds, so not its throughput."""
    return figures["reported"] | {"throughput_per_s": figures["recounted"]["throughput_per_s"]}


def _shown(load: Load, result: Mapping[str, Any]) -> list[Table | str]:
    table = Table(title=str(load), title_justify="left", box=None, pad_edge=False)
    for column in ("", OURS, THEIRS, "difference", ""):
        table.add_column(column, justify="left" if not column else "right")
    for each in itertools.starmap(Comparison, map(dict.values, result["comparison"])):
        figures = (f"{each.tesserank:,.4g}", f"{each.perf_analyzer:,.4g}", f"{each.difference:+.1%}")
        table.add_row(each.figure, *figures, each.verdict)
    return [table, result["explanation"]]
