"""Tell which stage of a running server is broken, and the remedy."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tesserank.server.doctor import DEFAULT_TIMEOUT_S, diagnose, diagnose_host
from tesserank.server.report import StageReport, Status

_STYLES = {Status.OK: "green", Status.BROKEN: "bold red", Status.NOT_REACHED: "yellow"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``tesserank doctor``."""
    parser.add_argument(
        "--url",
        default="127.0.0.1:8001",
        help="gRPC endpoint as host:port, or HTTP endpoint as http://host:port (default: %(default)s)",
    )
    parser.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT_S, metavar="S", help="seconds for each stage")
    parser.add_argument("--json", action="store_true", help="print a JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    """Prints one row a stage; returns 0 when all are healthy, else 1. Raises ServerError for an unusable --url."""
    pipeline = diagnose(args.url, args.timeout)
    answers = all(report.healthy for report in pipeline)
    host = diagnose_host(args.url)
    if answers and any(report.stage == "tritonserver" and not report.healthy for report in host):
        host = []  # the server that answers is another's, a container's perhaps: this environment need not run one
    healthy = answers and all(report.healthy for report in host)
    if args.json:
        print(json.dumps({"healthy": healthy, "stages": [asdict(report) for report in [*host, *pipeline]]}, indent=2))
    else:
        _print_table([*host, *pipeline])
    return 0 if healthy else 1


def _print_table(reports: Sequence[StageReport]) -> None:
    table = Table(show_lines=False)
    for column in ("stage", "state", "ms", "what was found", "remedy"):
        table.add_column(column, justify="right" if column == "ms" else "left", overflow="fold")
    for report in reports:
        state = f"[{_STYLES[report.status]}]{report.status.value}[/]"
        milliseconds = f"{report.seconds * 1e3:.1f}" if report.seconds else ""
        table.add_row(report.stage, state, milliseconds, escape(report.detail), escape(report.remedy))
    Console().print(table)
