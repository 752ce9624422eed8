"""What Locust's files say, judged."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from tesserank_loadtest.errors import LoadTestError
from tesserank_loadtest.reports import Reports
from tesserank_loadtest.summary import Endpoint, Failure, Summary, read_summary, tables

# As Locust 2.47 writes them.
STATS = """\
Type,Name,Request Count,Failure Count,Median Response Time,Average Response Time,Min Response Time,Max Response Time,\
Average Content Size,Requests/s,Failures/s,50%,66%,75%,80%,90%,95%,98%,99%,99.9%,99.99%,100%
HTTP,recommend,273,3,31.0,33.4,10.3,516.1,0.0,55.53,0.61,31,37,40,41,46,52,58,62,520,520,520
gRPC,recommend,727,0,30,31.9,7.5,74.7,0.0,155.3,0.0,30,36,40,41,45,50,58,70,75,75,75
,Aggregated,1000,3,30,32.6,7.5,516.1,0.0,210.9,0.61,30,36,40,41,46,51,58,62,520,520,520
"""
FAILURES = """\
Method,Name,Error,Occurrences,First Seen,Last Seen
HTTP,recommend,"InternalServerError (first: [/red] the index, it is gone)",3,2026-01-01T00:00:00Z,2026-01-01T00:00:09Z
"""
EXCEPTIONS = "Count,Message,Traceback,Nodes\n"


def write(folder: Path, stats: str = STATS, failures: str = FAILURES, exceptions: str = EXCEPTIONS) -> Reports:
    reports = Reports(folder)
    for path, content in ((reports.requests, stats), (reports.failures, failures), (reports.exceptions, exceptions)):
        path.write_text(content)
    return reports


def test_endpoints_and_failures_are_read_without_the_total(tmp_path: Path) -> None:
    assert read_summary(write(tmp_path)) == Summary(
        endpoints=(
            Endpoint("HTTP", "recommend", 273, 3, 31, 52, 62, 55.53),
            Endpoint("gRPC", "recommend", 727, 0, 30, 50, 70, 155.3),
        ),
        failures=(Failure("HTTP", "recommend", "InternalServerError (first: [/red] the index, it is gone)", 3),),
    )


def test_totals_are_the_sums_of_the_endpoints(tmp_path: Path) -> None:
    summary = read_summary(write(tmp_path))
    assert (summary.requests, summary.failed, summary.error_ratio) == (1000, 3, 0.003)
    assert Summary((), ()).error_ratio == 0.0


def test_an_error_of_the_users_code_is_no_result(tmp_path: Path) -> None:
    reports = write(tmp_path, exceptions=EXCEPTIONS + "4,division by zero,Traceback...,local\n")
    with pytest.raises(LoadTestError, match="own code failed, first with 'division by zero'"):
        read_summary(reports)


@pytest.mark.parametrize("stats", ["Type,Name\nHTTP,recommend\n", STATS.replace(",31,37,", ",N/A,37,")])
def test_files_of_another_form_are_refused(tmp_path: Path, stats: str) -> None:
    with pytest.raises(LoadTestError, match="no CSV files as Locust writes them"):
        read_summary(write(tmp_path, stats))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadTestError, match=r"locust_exceptions\.csv"):
        read_summary(Reports(tmp_path))


def test_the_tables_show_every_column_in_a_narrow_terminal(tmp_path: Path) -> None:
    console = Console(width=80, record=True, quiet=False, file=(tmp_path / "shown").open("w"))
    with console.file:
        for table in tables(read_summary(write(tmp_path, STATS.replace("gRPC,recommend", "gRPC,cross_encode")))):
            console.print(table)
        shown = console.export_text()
    assert "…" not in shown
    assert all(word in shown for word in ("cross_encode", "727", "155.3", "InternalServerError", "[/red] the index"))
