"""However the launching process ends, nothing of the server remains."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

Family = Callable[[int], list[psutil.Process]]

# As the command line does it, without depending on the other commands.
SERVE = """
import argparse, sys
from tesserank.commands import serve
from tesserank.errors import ServerError
parser = argparse.ArgumentParser()
serve.add_arguments(parser)
try:
    sys.exit(serve.run(parser.parse_args()))
except ServerError as error:
    sys.exit(f"error: {error}")
"""
# Starts the server in a thread that ends at once: the server must not end with it.
IN_A_THREAD = """
import pathlib, sys, threading, time
from tesserank.server import TritonServer
server = TritonServer(pathlib.Path(sys.argv[1]), http_port=0, grpc_port=0, metrics_port=0)
thread = threading.Thread(target=server.start)
thread.start()
thread.join()
time.sleep(1)
print(server.pid, server.returncode, flush=True)
time.sleep(60)
"""
ANY_PORTS = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")


def start(source: str, *arguments: object, temporary: Path) -> subprocess.Popen[str]:
    """Runs ``source``; what it leaves in its temporary folder when it is killed goes with the test's own."""
    command = [sys.executable, "-c", source, *map(str, arguments)]
    environment = os.environ | {"TMPDIR": str(temporary)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )


def read_until(process: subprocess.Popen[str], pattern: str) -> str:
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if re.search(pattern, line):
            return seen
    raise AssertionError(f"{pattern} not in the output:\n{seen}")


def test_a_killed_parent_takes_the_server_along(
    echo_repository: Path, tmp_path: Path, family: Family, survivors: Callable[..., Any]
) -> None:
    with start(IN_A_THREAD, echo_repository, temporary=tmp_path) as parent:
        assert parent.stdout is not None
        pid, returncode = parent.stdout.readline().split()
        assert returncode == "None", "the server outlives the thread that started it"
        processes = family(int(pid))
        parent.kill()
    assert survivors(processes) == []


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, write_pipeline: Callable[..., Path]) -> Path:
    return write_pipeline(tmp_path_factory.mktemp("served"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_serve_announces_its_addresses_and_stops_clean_on_a_signal(
    repository: Path, tmp_path: Path, family: Family, survivors: Callable[..., Any], number: signal.Signals
) -> None:
    with start(SERVE, "--model-repository", repository, *ANY_PORTS, temporary=tmp_path) as process:
        announced = read_until(process, "Ctrl-C")
        assert re.search(r"gRPC +127\.0\.0\.1:\d+\n", announced)
        processes = family(process.pid)
        assert len(processes) >= 3
        process.send_signal(number)
        assert process.wait(timeout=20) == 0
    assert survivors(processes, within_s=1) == []


def test_serve_fails_when_the_server_dies(
    repository: Path, tmp_path: Path, family: Family, survivors: Callable[..., Any]
) -> None:
    with start(SERVE, "--model-repository", repository, *ANY_PORTS, temporary=tmp_path) as process:
        read_until(process, "Ctrl-C")
        processes = family(process.pid)
        (triton,) = [child for child in processes if child.name() == "tritonserver"]
        triton.kill()
        assert "tritonserver was ended by signal 9" in read_until(process, "error:")
        assert process.wait(timeout=20) == 1
    assert survivors(processes) == []


def test_serve_is_interrupted_while_the_models_load(
    tmp_path: Path, write_model: Callable[..., Path], family: Family, survivors: Callable[..., Any]
) -> None:
    config = 'name: "slow"\nbackend: "python"\n' + "".join(
        f'{way} [ {{ name: "{way}" data_type: TYPE_FP32 dims: [ 1 ] }} ]\n' for way in ("input", "output")
    )
    slow = "import time\nclass TritonPythonModel:\n    def initialize(self, args): time.sleep(300)\n"
    write_model(tmp_path / "repository", "slow", config, slow)
    log_file = tmp_path / "log"
    command = ("--model-repository", tmp_path / "repository", *ANY_PORTS, "--log-file", log_file, "--exit-timeout", "0")
    with start(SERVE, *command, temporary=tmp_path) as process:
        read_until(process, "starting")
        while not log_file.exists() or "loading: slow" not in log_file.read_text():
            assert process.poll() is None
            time.sleep(0.02)
        processes = family(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
    assert survivors(processes) == []


def test_serve_does_not_start_a_pipeline_that_does_not_answer(
    tmp_path: Path, write_pipeline: Callable[..., Path]
) -> None:
    repository = write_pipeline(tmp_path / "repository")
    (repository / "segmented_maxsim" / "1" / "fault").write_text("empty")
    with start(SERVE, "--model-repository", repository, *ANY_PORTS, temporary=tmp_path) as process:
        printed = read_until(process, "The whole log")
        assert "segmented_maxsim: ITEM_IDS, SCORES" in printed
        assert process.wait(timeout=20) == 1
    (log_file,) = tmp_path.glob("tesserank-server-*/tritonserver.log")
    assert str(log_file) in printed
