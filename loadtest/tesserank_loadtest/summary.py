"""What a run came to: read from Locust's CSV files, judged, and printed as a table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from tesserank_loadtest.errors import LoadTestError
from tesserank_loadtest.reports import Reports

# Locust's histogram: no percentile is finer than this.
PRECISION_NOTE = (
    "percentiles as Locust keeps them: whole milliseconds, from 100 ms on two digits; failed requests count"
)


@dataclass(frozen=True)
class Endpoint:
    """One kind of request over one protocol. Latencies in milliseconds; ``requests`` includes the failed ones."""

    protocol: str
    name: str
    requests: int
    failures: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    requests_per_s: float


@dataclass(frozen=True)
class Failure:
    """A kind of error, and how often it came."""

    protocol: str
    name: str
    error: str
    count: int


@dataclass(frozen=True)
class Summary:
    """All that a run measured."""

    endpoints: tuple[Endpoint, ...]
    failures: tuple[Failure, ...]

    @property
    def requests(self) -> int:
        """Requests sent, failed or not."""
        return sum(endpoint.requests for endpoint in self.endpoints)

    @property
    def failed(self) -> int:
        """Requests that failed."""
        return sum(endpoint.failures for endpoint in self.endpoints)

    @property
    def error_ratio(self) -> float:
        """Failed requests by all requests; 0 when there were none."""
        return self.failed / self.requests if self.requests else 0.0


def read_summary(reports: Reports) -> Summary:
    """The summary of a run that has ended.

    Raises:
        LoadTestError: A file is missing or not as Locust writes it, or the users' own code failed during the run.
    """
    if exceptions := _rows(reports.exceptions):
        first = exceptions[0].get("Message", "")
        raise LoadTestError(f"the users' own code failed, first with {first!r}: see {reports.locust_log}")
    try:
        endpoints = tuple(_endpoint(row) for row in _rows(reports.requests) if row["Name"] != "Aggregated")
        failures = tuple(
            Failure(row["Method"], row["Name"], row["Error"], int(row["Occurrences"]))
            for row in _rows(reports.failures)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LoadTestError(f"{reports.root} holds no CSV files as Locust writes them: {error!r}") from error
    return Summary(endpoints, failures)


def tables(summary: Summary) -> Sequence[Table]:
    """The endpoints and, if there were any, the failures."""
    endpoints = Table(box=SIMPLE_HEAD, pad_edge=False, caption=PRECISION_NOTE, caption_justify="left")
    for column in ("protocol", "request", "requests", "failed", "p50 ms", "p95 ms", "p99 ms", "req/s"):
        endpoints.add_column(column, justify="left" if column in ("protocol", "request") else "right")
    for row in summary.endpoints:
        latencies = (f"{value:.0f}" for value in (row.p50_ms, row.p95_ms, row.p99_ms))
        failed = f"[bold red]{row.failures:,}[/]" if row.failures else "0"
        endpoints.add_row(row.protocol, row.name, f"{row.requests:,}", failed, *latencies, f"{row.requests_per_s:.1f}")
    if not summary.failures:
        return [endpoints]
    failures = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("protocol", "request", "failed", "error"):
        failures.add_column(column, justify="right" if column == "failed" else "left", overflow="fold")
    for failure in summary.failures:
        failures.add_row(failure.protocol, failure.name, f"{failure.count:,}", escape(failure.error))
    return [endpoints, failures]


def _endpoint(row: dict[str, str]) -> Endpoint:
    return Endpoint(
        protocol=row["Type"],
        name=row["Name"],
        requests=int(row["Request Count"]),
        failures=int(row["Failure Count"]),
        p50_ms=float(row["50%"]),
        p95_ms=float(row["95%"]),
        p99_ms=float(row["99%"]),
        requests_per_s=float(row["Requests/s"]),
    )


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LoadTestError(f"cannot read what Locust measured from {path}: {error}") from error
