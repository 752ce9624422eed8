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
from typing import Any

import psutil
import pytest

from tesserank.cli import main
from tesserank.server import TritonServer
from tesserank_loadtest import target
from tesserank_loadtest.reports import Reports

pytestmark = pytest.mark.usefixtures("patient")

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


def read_result(out: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((out / "result.json").read_text())
    return result


def test_a_closed_loop_reports_every_protocol_and_the_server(
    command: Command, server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--metrics-url", server.urls.metrics, "--slo", "p50<1s,throughput>5"]) == 0
    result = read_result(tmp_path / "out")
    figures = result["figures"]
    assert set(figures) == {"gRPC recommend", "HTTP recommend", "all"}
    assert min(row["requests"] for row in figures.values()) > 5
    assert figures["all"]["requests"] == figures["gRPC recommend"]["requests"] + figures["HTTP recommend"]["requests"]
    assert all(100 <= row["p50_ms"] < 1000 for row in figures.values())
    # Triton counts what the users counted, and the batches that came of it.
    assert result["server"]["batch_size"]["recommend"] > 1
    assert 100 <= result["server"]["compute_ms"]["recommend"] < 400
    assert 0 < result["server"]["cpu_cores"] < 2
    assert result["server"]["peak_rss_mib"] > 20
    assert "nothing measured" in (tmp_path / "out" / "report.html").read_text()  # the stand-ins have no stages
    shown = capsys.readouterr().out
    assert f"{figures['all']['requests']}" in shown
    assert str(tmp_path / "out") in shown


def test_an_open_loop_sends_over_both_protocols(command: Command, tmp_path: Path) -> None:
    options = ["--rate", "20", "--arrivals", "constant", "--processes", "2"]
    del command[command.index("--users") : command.index("--users") + 2]
    assert main([*command, *options]) == 0
    result = read_result(tmp_path / "out")
    figures = result["figures"]
    assert (figures["gRPC recommend"]["requests"], figures["HTTP recommend"]["requests"]) == (30, 29)
    assert result["generator"]["unsent"] == 0


def test_the_cross_encoder_is_loaded_alone(command: Command, tmp_path: Path) -> None:
    assert main([*command, "--model", "cross_encoder", "--duration", "1"]) == 0
    assert set(read_result(tmp_path / "out")["figures"]) == {"gRPC cross_encoder", "HTTP cross_encoder", "all"}


def test_failures_are_reported_by_type_and_in_the_exit_status(
    command: Command, fault: Callable[[str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fault("internal: the index is gone")
    assert main([*command, "--duration", "1"]) == 1
    result = read_result(tmp_path / "out")
    figures = result["figures"]["all"]
    assert 0 < figures["requests"] == figures["failed"] == sum(error["count"] for error in result["errors"])
    errors = {(error["endpoint"], error["error"], error["first"]) for error in result["errors"]}
    assert errors == {(f"{name} recommend", "InternalServerError", "the index is gone") for name in ("gRPC", "HTTP")}
    shown = capsys.readouterr().out
    assert "InternalServerError" in shown
    assert "SLO errors<=0%: missed, error_ratio 1" in shown


def test_failures_within_the_slo_pass(command: Command, fault: Callable[[str], None], tmp_path: Path) -> None:
    fault("limit_exceeded: 10 candidates, at most 5")
    assert main([*command, "--duration", "1", "--protocol", "both", "--slo", "errors<=100%"]) == 0
    assert {error["error"] for error in read_result(tmp_path / "out")["errors"]} == {"LimitExceededError"}


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
    result = read_result(out)
    assert set(result["figures"]) == {"HTTP recommend", "all"}
    assert result["server"]["batch_size"]["recommend"] >= 1


def test_ctrl_c_ends_the_run_with_its_reports_written(command: Command, spawn: Spawn, tmp_path: Path) -> None:
    process = spawn([*command, "--duration", "300"])
    reports = Reports(tmp_path / "out")
    await_true(lambda: reports.locust_log.exists() and "All users spawned" in reports.locust_log.read_text(), "users")
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    time.sleep(2.5)  # the run starts a second after the message; an answer takes two tenths
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert not [child for child in children if runs(child)]
    assert "recommend" in reports.html.read_text()
    result = read_result(reports.root)
    assert "interrupted" in result["notes"]
    assert result["figures"]["all"]["failed"] == 0 < result["figures"]["all"]["requests"]


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
    assert '<iframe src="./tesserank"' in get("/")
    assert "serverCharts(parent, data)" in get("/tesserank")
    await_true(lambda: any(json.loads(get("/tesserank/series"))["cpu_cores"]), "the server's processor time")
    process.send_signal(signal.SIGINT)
    shown, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, shown
    assert page in shown
    assert read_result(tmp_path / "out")["figures"]["all"]["requests"] > 0
