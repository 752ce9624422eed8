"""Whole runs: Locust in its process, the project's client, and a real tritonserver with stand-in models."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tesserank.cli import main
from tesserank.server import TritonServer
from tesserank_loadtest import target
from tesserank_loadtest.reports import Reports
from tesserank_loadtest.summary import read_summary

Command = list[str]
Spawn = Callable[..., "subprocess.Popen[str]"]
PATIENCE_S = 40.0


@pytest.fixture
def command(server: TritonServer, items_file: Path, tmp_path: Path) -> Command:
    """A load test of the stand-ins with two users of each protocol, reporting into tmp_path / "out"."""
    urls = ["--grpc-url", server.urls.grpc, "--http-url", server.urls.http]
    requests = ["--workload", str(items_file), "--candidates", "10"]
    return ["loadtest", *urls, *requests, "--users", "4", "--duration", "3", "--out", str(tmp_path / "out")]


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """``spawn(arguments)``: the command line in a process of its own."""
    processes: list[subprocess.Popen[str]] = []

    def start(arguments: Command) -> subprocess.Popen[str]:
        line = [sys.executable, "-m", "tesserank", *arguments]
        processes.append(subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def await_true(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.1)


def runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_run_reports_every_protocol_and_model(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--cross-encoder"]) == 0
    reports = Reports(tmp_path / "out")
    summary = read_summary(reports)
    counts = {(row.protocol, row.name): row.requests for row in summary.endpoints}
    models = ("recommend", "cross_encode")
    assert set(counts) == {(protocol, model) for protocol in ("gRPC", "HTTP") for model in models}
    assert min(counts.values()) > 0
    assert summary.failures == ()
    # what Locust printed last: its CSV files alone would lack the last second
    assert f" {summary.requests} " in reports.locust_log.read_text().partition("Aggregated")[2]
    # An answer takes 0.1 s, and those who wait meanwhile are answered together next: two groups take turns, four users
    # send 20 a second. Users who block each other, as gRPC's do without its gevent support, send 10.
    assert counts["gRPC", "recommend"] + counts["HTTP", "recommend"] > 3 * 15
    assert all(100 <= row.p50_ms < 1000 for row in summary.endpoints)
    assert "recommend" in reports.html.read_text()
    shown = capsys.readouterr().out
    assert f"{counts['gRPC', 'recommend']}" in shown
    assert str(reports.root) in shown
    assert json.loads(reports.plan.read_text())["workload"]["candidates"] == 10


def test_failures_are_reported_by_type_and_in_the_exit_status(
    command: Command, fault: Callable[[str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fault("internal: the index is gone")
    assert main([*command, "--duration", "1"]) == 1
    summary = read_summary(Reports(tmp_path / "out"))
    assert 0 < summary.requests == summary.failed == sum(failure.count for failure in summary.failures)
    errors = {(failure.protocol, failure.error) for failure in summary.failures}
    assert errors == {(name, "InternalServerError (first: the index is gone)") for name in ("gRPC", "HTTP")}
    shown = capsys.readouterr().out
    assert "InternalServerError" in shown
    assert "100.00%, 0.00% allowed" in shown


def test_failures_within_the_allowed_ratio_pass(command: Command, fault: Callable[[str], None], tmp_path: Path) -> None:
    fault("limit_exceeded: 10 candidates, at most 5")
    assert main([*command, "--duration", "1", "--protocol", "both", "--max-error-ratio", "1"]) == 0
    assert {failure.error.split()[0] for failure in read_summary(Reports(tmp_path / "out")).failures} == {
        "LimitExceededError"
    }


def test_a_server_that_was_started_is_stopped_when_the_run_is_over(
    repository: Path,
    items_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setattr(target, "DEFAULT_URLS", {"grpc": nobody, "http": nobody})
    before = set(psutil.Process().children(recursive=True))
    requests = ["--workload", str(items_file), "--candidates", "catalogue", "--model-repository", str(repository)]
    out = tmp_path / "out"
    assert (
        main(["loadtest", *requests, "--protocol", "http", "--users", "2", "--duration", "1", "--out", str(out)]) == 0
    )
    assert "one was started" in capsys.readouterr().out
    assert set(psutil.Process().children(recursive=True)) <= before
    assert [row.protocol for row in read_summary(Reports(out)).endpoints] == ["HTTP"]


def test_ctrl_c_ends_the_run_with_its_reports_written(command: Command, spawn: Spawn, tmp_path: Path) -> None:
    process = spawn([*command, "--duration", "300"])
    reports = Reports(tmp_path / "out")
    await_true(lambda: reports.locust_log.exists() and "All users spawned" in reports.locust_log.read_text(), "users")
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert not [child for child in children if runs(child)]
    assert "recommend" in reports.html.read_text()
    assert read_summary(reports).failed == 0


def test_the_web_page_starts_users_and_ctrl_c_ends_it(command: Command, spawn: Spawn, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    process = spawn([*command, "--ui", "--ui-port", str(port)])
    page = f"http://127.0.0.1:{port}"

    def get(path: str, form: dict[str, str] | None = None) -> str:
        data = None if form is None else urllib.parse.urlencode(form).encode()
        with urllib.request.urlopen(f"{page}{path}", data, timeout=5.0) as answer:
            return str(answer.read().decode())

    def answers() -> bool:
        try:
            return "<html" in get("/")
        except OSError:
            return False

    await_true(answers, "the web page")
    get("/swarm", {"user_count": "4", "spawn_rate": "4", "host": "any"})
    await_true(lambda: json.loads(get("/stats/requests"))["total_rps"] > 0, "requests")
    process.send_signal(signal.SIGINT)
    shown, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, shown
    assert page in shown
    assert read_summary(Reports(tmp_path / "out")).requests > 0
