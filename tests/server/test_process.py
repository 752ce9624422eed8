"""Ports, logs and processes: the launcher's parts, without a tritonserver."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesserank.errors import ServerError
from tesserank.server import logs
from tesserank.server.ports import claim_ports, is_loopback
from tesserank.server.process import GuardedProcess

STUBBORN = """
import os, pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(100)
"""


def guarded(source: str, *arguments: object, log_file: Path) -> GuardedProcess:
    command = [sys.executable, "-c", source, *map(str, arguments)]
    return GuardedProcess(command, environment=os.environ, log_file=log_file)


def read_when_written(path: Path) -> str:
    deadline = time.monotonic() + 10
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline, f"{path} was not written"
        time.sleep(0.02)
    return path.read_text()


def test_a_process_that_ignores_sigterm_is_killed_with_its_children(
    tmp_path: Path, survivors: Callable[..., Any]
) -> None:
    process = guarded(STUBBORN, tmp_path / "child", log_file=tmp_path / "log")
    process.start()
    child = psutil.Process(int(read_when_written(tmp_path / "child")))
    process.terminate(timeout_s=0.2)
    assert process.returncode == -9
    assert survivors([child], within_s=5) == []


def test_output_and_exit_status_are_kept(tmp_path: Path) -> None:
    process = guarded("print('the last words', flush=True); raise SystemExit(7)", log_file=tmp_path / "log")
    process.start()
    assert process.wait(timeout_s=10) == 7
    assert (tmp_path / "log").read_text() == "the last words\n"
    process.terminate(timeout_s=1)


def test_a_terminal_s_ctrl_c_cannot_reach_it(tmp_path: Path) -> None:
    process = guarded("import time; time.sleep(100)", log_file=tmp_path / "log")
    process.start()
    assert process.wait(timeout_s=0.05) is None
    assert os.getpgid(process.pid) != os.getpgid(0)
    assert os.getsid(process.pid) == process.pid
    process.terminate(timeout_s=5)
    assert process.returncode == -15


def test_a_log_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="cannot start"):
        guarded("", log_file=tmp_path / "absent" / "log").start()


def test_a_process_never_started_has_nothing_to_end(tmp_path: Path) -> None:
    process = guarded("", log_file=tmp_path / "log")
    process.terminate(timeout_s=1)
    with pytest.raises(ServerError, match="not started"):
        _ = process.pid


@given(st.integers(1, 20))
def test_free_ports_are_distinct_and_can_be_bound(count: int) -> None:
    ports = claim_ports("127.0.0.1", [("--port", 0)] * count)
    assert len(set(ports)) == count
    with socket.create_server(("127.0.0.1", ports[0])) as listener:
        assert listener.getsockname()[1] == ports[0]


def test_one_port_for_two_endpoints_is_in_use_for_the_second() -> None:
    (port,) = claim_ports("127.0.0.1", [("--http-port", 0)])
    with pytest.raises(ServerError, match=f"port {port} is in use: choose another with --grpc-port"):
        claim_ports("127.0.0.1", [("--http-port", port), ("--grpc-port", port)])


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(ServerError, match=re.escape(f"--http-port {port} is not a port")):
        claim_ports("127.0.0.1", [("--http-port", port)])


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ServerError, match=r"cannot listen on 192\.0\.2\.1:0 \(--http-port\)"):
        claim_ports("192.0.2.1", [("--http-port", 0)])


@pytest.mark.parametrize(("host", "loopback"), [("127.8.8.8", True), ("::1", True), ("localhost", True), ("::", False)])
def test_loopback_addresses_are_known(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            r"""E cc:642] "failed to load 'm' version 1: Internal: KeyError: 'x'\n\nAt:\n  /m.py(3): f\n" """,
            "model m: KeyError: 'x'",
        ),
        (
            "[libprotobuf ERROR text_format.cc:337] Error parsing text-format inference.ModelConfig: 6:15: no field\n"
            "E \"Poll failed for model directory 'm': failed to read text proto\"",
            "Error parsing text-format inference.ModelConfig: 6:15: no field\n"
            "Poll failed for model directory 'm': failed to read text proto",
        ),
        ("fine\nerror: creating server: Internal - failed to load all models", "error: creating server: Internal"),
        ("one\ntwo", "one\ntwo"),
        ("", "it printed nothing"),
    ],
    ids=["exception in a model", "configuration", "server", "no known cause", "silence"],
)
def test_the_cause_is_found_in_the_log(tmp_path: Path, lines: str, expected: str) -> None:
    (tmp_path / "log").write_text(lines)
    assert expected in logs.explain(tmp_path / "log")


def test_a_cause_repeated_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("E \"failed to load 'm' version 1: Internal: gone\"\n" * 3)
    assert logs.explain(tmp_path / "log") == "model m: gone"
