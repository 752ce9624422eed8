"""Load a server with users over gRPC and HTTP, and report latency, throughput and failures.

Uses the server that runs, or starts one on the model repository and stops it afterwards. Each user sends its next
request when it has the answer to the last (closed loop). Exit status: 0, or 1 when more requests failed than allowed.
"""

from __future__ import annotations

import argparse
import importlib.util
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tesserank.errors import ConfigError
from tesserank.paths import BUILD, MODEL_REPOSITORY
from tesserank_loadtest import ranges
from tesserank_loadtest.generator import WEB_HOST, Schedule, run_locust
from tesserank_loadtest.plan import PROTOCOLS, Plan, Protocol, WorkloadOptions
from tesserank_loadtest.reports import Reports
from tesserank_loadtest.summary import Summary, read_summary, tables
from tesserank_loadtest.target import check_url, started_or_running
from tesserank_loadtest.workload import load_workload

REPORTS = BUILD / "loadtest"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``tesserank loadtest``."""
    server = parser.add_argument_group("the server")
    server.add_argument("--grpc-url", metavar="HOST:PORT", help="of a running server (default: 127.0.0.1:8001, if any)")
    server.add_argument("--http-url", metavar="HOST:PORT", help="of a running server (default: 127.0.0.1:8000, if any)")
    server.add_argument(
        "--model-repository", type=Path, default=MODEL_REPOSITORY, metavar="DIR", help="to start one on (%(default)s)"
    )
    server.add_argument("--allow-remote", action="store_true", help="load a server on another machine")

    load = parser.add_argument_group("the load")
    load.add_argument("--protocol", choices=(*PROTOCOLS, "both"), help="default: both, or those whose URL is given")
    load.add_argument("--users", type=ranges.users, default=8, metavar="N", help="at the same time (%(default)s)")
    load.add_argument("--duration", type=ranges.seconds, default=20, metavar="S", help="whole seconds (%(default)s)")
    load.add_argument("--spawn-rate", type=ranges.rate, metavar="R", help="users a second (default: all at once)")
    load.add_argument("--timeout", type=ranges.timeout, default=5.0, metavar="S", help="of a request (%(default)g)")
    load.add_argument(
        "--cross-encoder", action="store_true", help="besides, one user a protocol of the cross-encoder, to compare"
    )
    load.add_argument(
        "--cross-encoder-timeout", type=ranges.timeout, default=60.0, metavar="S", help="of its requests (%(default)g)"
    )

    requests = parser.add_argument_group("the requests")
    requests.add_argument(
        "--workload",
        type=Path,
        metavar="PATH",
        help="the items to request: an index, a model repository, or a file of ids, one a line "
        "(default: the model repository)",
    )
    requests.add_argument("--events", type=Path, metavar="FILE", help="real histories: .csv or .jsonl, also .gz")
    requests.add_argument("--queries", type=Path, metavar="FILE", help="one text a line, of which each request has one")
    requests.add_argument(
        "--candidates", type=ranges.candidates, default=100, metavar="N|catalogue", help="to rank (%(default)s)"
    )
    requests.add_argument("--top-k", type=ranges.positive, metavar="K", help="items wanted (default: the server's)")
    requests.add_argument("--max-history", type=ranges.events, default=20, metavar="N", help="events (%(default)s)")
    requests.add_argument("--seed", type=ranges.seed, default=0, help="equal seeds send equal requests (%(default)s)")

    output = parser.add_argument_group("the report")
    output.add_argument("--out", type=Path, metavar="DIR", help=f"a new folder (default: {REPORTS}/TIME)")
    output.add_argument("--max-error-ratio", type=ranges.ratio, default=0.0, metavar="R", help="(%(default)g)")
    output.add_argument("--ui", action="store_true", help="Locust's web page, to start and watch; Ctrl-C ends it")
    output.add_argument("--ui-port", type=ranges.port, default=8089, metavar="PORT", help="(%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Load the server, print the summary, and return 0, or 1 when too many requests failed or none was sent.

    Raises:
        ConfigError, DataError, ArtifactError: The options, or the files they name, cannot be used.
        ServerError: There is no server to load.
        LoadTestError: The load generator failed.
    """
    _check_locust()
    console = Console(soft_wrap=True, highlight=False)
    named = _named_urls(args)
    protocols = _protocols(args.protocol, tuple(named))
    workload = _workload(args)
    if args.users < len(protocols):
        raise ConfigError(f"--users {args.users} for {len(protocols)} protocols: each needs one at least")
    load_workload(workload)  # what cannot be used must not cost the start of a server
    reports = Reports(_new_folder(args.out))
    # A service manager's SIGTERM takes the way of Ctrl-C, through every `finally`.
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with started_or_running(named, protocols, args.model_repository, reports.server_log, console.print) as urls:
            plan = Plan(urls, args.users, workload, args.timeout, args.cross_encoder, args.cross_encoder_timeout)
            _generate(console, plan, _schedule(args, plan), reports)
    finally:
        signal.signal(signal.SIGTERM, previous)
        _announce(console, reports.root)
    return _conclude(console, read_summary(reports), args)


def _generate(console: Console, plan: Plan, schedule: Schedule, reports: Reports) -> None:
    where = " and ".join(f"{protocol}://{url}" for protocol, url in plan.urls.items())
    users = f"{plan.all_users} users on {where}"
    if schedule.web_port is not None:
        console.print(f"{users}: start them at http://{WEB_HOST}:{schedule.web_port}; Ctrl-C ends")
        run_locust(plan, schedule, reports, lambda passed: None)
        return
    console.print(f"{users} for {schedule.duration_s} s")
    with console.status("starting") as status:
        run_locust(plan, schedule, reports, lambda passed: status.update(f"{passed:.0f} s"))


def _announce(console: Console, folder: Path) -> None:
    if any(folder.iterdir()):
        console.print(f"reports: {folder}")
    else:  # it did not come to a run
        folder.rmdir()


def _conclude(console: Console, summary: Summary, args: argparse.Namespace) -> int:
    if not summary.requests:
        console.print("no request was sent" if args.ui else "[bold red]no request was sent[/]")
        return 0 if args.ui else 1
    for table in tables(summary):
        console.print(table)
    if summary.error_ratio <= args.max_error_ratio:
        return 0
    allowed = f"{args.max_error_ratio:.2%} allowed with --max-error-ratio"
    console.print(
        f"[bold red]{summary.failed:,} of {summary.requests:,} requests failed[/]: {summary.error_ratio:.2%}, {allowed}"
    )
    return 1


def _named_urls(args: argparse.Namespace) -> dict[Protocol, str]:
    options: tuple[tuple[Protocol, str, str | None], ...] = (
        ("grpc", "--grpc-url", args.grpc_url),
        ("http", "--http-url", args.http_url),
    )
    named = {name: check_url(option, url, allow_remote=args.allow_remote) for name, option, url in options if url}
    wanted = set(_protocols(args.protocol, tuple(named)))
    if named and wanted != set(named):
        raise ConfigError(
            f"--protocol {args.protocol} with the URL of {' and '.join(named)} alone: give those of "
            f"{' and '.join(sorted(wanted))}, or leave out --protocol"
        )
    return named


def _protocols(choice: str | None, named: Sequence[Protocol]) -> tuple[Protocol, ...]:
    if choice is None and named:
        return tuple(named)
    return tuple(protocol for protocol in PROTOCOLS if choice in (None, "both", protocol))


def _workload(args: argparse.Namespace) -> WorkloadOptions:
    if args.cross_encoder and args.candidates == ranges.CATALOGUE:
        raise ConfigError("--cross-encoder takes a forward pass a candidate: give a number with --candidates")
    return WorkloadOptions(
        items=(args.workload or args.model_repository).resolve(),
        events=args.events.resolve() if args.events else None,
        queries=args.queries.resolve() if args.queries else None,
        candidates=None if args.candidates == ranges.CATALOGUE else args.candidates,
        top_k=args.top_k,
        max_history=args.max_history,
        seed=args.seed,
    )


def _schedule(args: argparse.Namespace, plan: Plan) -> Schedule:
    return Schedule(args.duration, args.spawn_rate or float(plan.all_users), args.ui_port if args.ui else None)


def _new_folder(out: Path | None) -> Path:
    folder = out or REPORTS / time.strftime("%Y%m%d-%H%M%S")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} holds an earlier report or something else: name another folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _check_locust() -> None:
    if importlib.util.find_spec("locust") is None:
        raise ConfigError("locust is not installed: pip install 'tesserank[loadtest]'")
