"""Load a server over gRPC and HTTP, and report latency, throughput, errors and what the server did.

Uses the server that runs, or starts one on the model repository and stops it afterwards. With --rate requests are sent
at times of their own, whatever becomes of them (open loop), and latency counts from those times; with --users each user
sends the next request when it has the answer to the last (closed loop). Exit status: 0; 1 when the SLO is missed; 3
when the run says nothing about the server, because the generator could not do as planned.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from tesserank.errors import ConfigError
from tesserank.paths import BUILD
from tesserank.signals import sigterm_as_ctrl_c
from tesserank_loadtest import options
from tesserank_loadtest.arrivals import Arrivals
from tesserank_loadtest.compare import compare, unlike
from tesserank_loadtest.generator import WEB_HOST, Start
from tesserank_loadtest.knee import Knee, find_knee
from tesserank_loadtest.plan import Plan
from tesserank_loadtest.report import number
from tesserank_loadtest.reports import Reports
from tesserank_loadtest.result import exit_status, load_result
from tesserank_loadtest.run import run_plan
from tesserank_loadtest.schedule import planned_times
from tesserank_loadtest.slo import Slo
from tesserank_loadtest.summary import difference_table, show, sweep_table
from tesserank_loadtest.target import Target, started_or_running
from tesserank_loadtest.workload import Workload, load_workload

REPORTS = BUILD / "loadtest"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``tesserank loadtest``, and of its subcommands."""
    options.add_run_arguments(parser)
    commands = parser.add_subparsers(dest="mode", metavar="knee|compare")
    knee = commands.add_parser("knee", help="the highest rate that meets the SLO, by binary search")
    options.add_knee_arguments(knee)
    options.add_run_arguments(knee, inherit=True)
    options.add_compare_arguments(commands.add_parser("compare", help="two results: what got worse"))


def run(args: argparse.Namespace) -> int:
    """Run one load test, a sweep, a search or a comparison; the exit status is the module's.

    Raises:
        ConfigError, DataError, ArtifactError: The options, or the files they name, cannot be used.
        ServerError: There is no server to load.
        LoadTestError: The load generator failed, or a result cannot be read.
    """
    console = Console(soft_wrap=True, highlight=False)
    if args.mode == "compare":
        return _compare(console, args)
    if importlib.util.find_spec("locust") is None:
        raise ConfigError("locust is not installed: pip install 'tesserank[loadtest]'")
    return _load(console, args, _knee if args.mode == "knee" else _runs)


@dataclass(frozen=True)
class Bench:
    """All that the runs of one command share."""

    console: Console
    plan: Plan
    workload: Workload
    target: Target
    slo: Slo
    folder: Path

    def run(self, plan: Plan, name: str = "", start: Start | None = None) -> dict[str, Any]:
        """One run, with its reports in a folder of the name."""
        reports = Reports(self.folder / name)
        reports.root.mkdir(exist_ok=True)
        start = start or Start()
        with self.console.status(name or "starting") as status:
            return run_plan(
                plan, self.workload, self.target, self.slo, reports, start, lambda s: status.update(f"{name} {s:.0f} s")
            )


def _load(console: Console, args: argparse.Namespace, work: Callable[[Bench, argparse.Namespace], int]) -> int:
    named = options.named_urls(args)
    protocols = options.protocols(args.protocol, tuple(named))
    options.check(args, protocols)
    workload_options = options.workload(args)
    workload = load_workload(workload_options)  # what cannot be used must not cost the start of a server
    first = options.plan(args, dict.fromkeys(protocols, ""), workload_options)
    if first.arrivals is not None:
        planned_times(first, workload)
    folder = _new_folder(args.out)
    server_log = Reports(folder).server_log
    with sigterm_as_ctrl_c(), _announced(console, folder):
        repository = args.model_repository
        with started_or_running(named, args.metrics_url, protocols, repository, server_log, console.print) as target:
            plan = options.plan(args, target.urls, workload_options)
            return work(Bench(console, plan, workload, target, args.slo, folder), args)


def _runs(bench: Bench, args: argparse.Namespace) -> int:
    where = " and ".join(f"{protocol}://{url}" for protocol, url in bench.plan.urls.items())
    if args.ui:
        page = f"http://{WEB_HOST}:{args.ui_port}"
        bench.console.print(f"load on {where}: start it at {page}; Ctrl-C ends")
        result = bench.run(bench.plan, start=Start(args.spawn_rate, args.ui_port))
        show(bench.console, result)
        return 0
    if args.rate is not None:
        bench.console.print(f"{args.arrivals} arrivals, {args.rate:g} a second, on {where} for {args.duration} s")
        return _one(bench, bench.plan, args)
    if len(args.users) == 1:
        bench.console.print(f"{args.users[0]} users on {where} for {args.duration} s")
        return _one(bench, bench.plan, args)
    return _sweep(bench, args)


def _one(bench: Bench, plan: Plan, args: argparse.Namespace) -> int:
    result = bench.run(plan, start=Start(args.spawn_rate))
    show(bench.console, result)
    return exit_status(result)


def _sweep(bench: Bench, args: argparse.Namespace) -> int:
    """A closed loop with one number of users after the other; the worst exit status."""
    results = {
        users: bench.run(replace(bench.plan, users=users), f"users-{users}", Start(args.spawn_rate))
        for users in args.users
    }
    bench.console.print(sweep_table("users", {str(users): result for users, result in results.items()}))
    return max(exit_status(result) for result in results.values())


def _knee(bench: Bench, args: argparse.Namespace) -> int:
    """0 when a highest rate was found; 1 when even the lowest misses the SLO; 3 when the generator set the limit."""
    results = {}

    def meets(rate: float) -> bool:
        plan = replace(bench.plan, arrivals=Arrivals(args.arrivals, rate))
        result = bench.run(plan, f"rate-{rate:.6g}")
        results[f"{rate:.6g}"] = result
        bench.console.print(f"{rate:,.6g}/s: {('meets', 'misses', '', 'invalid')[exit_status(result)]} {bench.slo}")
        return exit_status(result) == 0

    knee = find_knee(meets, args.low, args.high, args.precision)
    bench.console.print(sweep_table("rate", results))
    bench.console.print(_knee_sentence(knee, bench.slo, args))
    if knee.bounded and knee.rate is not None and all(exit_status(result) != 3 for result in results.values()):
        return 0
    return 1 if knee.rate is None and exit_status(results[f"{args.low:.6g}"]) == 1 else 3


def _knee_sentence(knee: Knee, slo: Slo, args: argparse.Namespace) -> str:
    if knee.rate is None:
        return f"[bold red]even {args.low:g} requests/s miss {slo}[/]: give a lower --low"
    if not knee.bounded:
        return f"[bold red]{args.high:g} requests/s still meet {slo}[/]: give a higher --high"
    return f"the knee: {knee.rate:,.6g} requests/s meet {slo}, to within {args.precision:.0%}"


def _compare(console: Console, args: argparse.Namespace) -> int:
    """1 when a figure got worse by more than the tolerance."""
    before, after = load_result(args.before), load_result(args.after)
    differences = compare(before, after, args.tolerance)
    console.print(difference_table(differences))
    for difference in unlike(before, after):
        console.print(f"note: the plans differ in {difference}")
    worse = [each for each in differences if each.worse]
    for each in worse:
        figures = f"{number(each.before)} → {number(each.after)} {each.metric.unit}"
        console.print(
            f"[bold red]worse by more than {args.tolerance:.0%}[/]: {each.endpoint} {each.metric.name} {figures}"
        )
    return 1 if worse else 0


@contextmanager
def _announced(console: Console, folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        if any(folder.iterdir()):
            console.print(f"reports: {folder}")
        else:  # it did not come to a run
            folder.rmdir()


def _new_folder(out: Path | None) -> Path:
    folder = out or REPORTS / time.strftime("%Y%m%d-%H%M%S")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} holds an earlier report or something else: name another folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
