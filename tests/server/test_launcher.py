"""A real tritonserver: it starts, answers from the running environment, explains its failures and leaves nothing."""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tritonclient.grpc

import tesserank
from tesserank.errors import ServerError
from tesserank.server import TritonServer
from tesserank.server.environment import SHARED_MEMORY

Launch = Callable[..., TritonServer]

MINIMAL_CONFIG = """
name: "%s"
backend: "python"
input [ { name: "X" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "Y" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""


@pytest.fixture(scope="module")
def server(echo_repository: Path, launch: Launch) -> Iterator[TritonServer]:
    with launch(echo_repository, model_config_name="cached", response_cache_bytes=1 << 20) as running:
        yield running


@pytest.fixture
def client(server: TritonServer) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    with tritonclient.grpc.InferenceServerClient(server.urls.grpc) as connected:
        yield connected


def run_directories() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("tesserank-server-*"))


def echo(client: Any, factor: float | None = None) -> Any:
    x = np.array([[1, 2, 3]], dtype=np.float32)
    inputs = [tritonclient.grpc.InferInput("X", [1, 3], "FP32").set_data_from_numpy(x)]
    if factor is not None:
        optional = tritonclient.grpc.InferInput("FACTOR", [1, 1], "FP32")
        inputs.append(optional.set_data_from_numpy(np.array([[factor]], dtype=np.float32)))
    return client.infer("echo", inputs, client_timeout=10)


def test_a_model_answers_with_and_without_its_optional_input(client: Any) -> None:
    assert echo(client).as_numpy("Y").tolist() == [[1, 2, 3]]
    assert echo(client, factor=2.5).as_numpy("Y").tolist() == [[2.5, 5, 7.5]]


def test_models_run_in_the_environment_that_started_the_server(client: Any) -> None:
    prefix, version, package, *_ = (fact.decode() for fact in echo(client).as_numpy("ENVIRONMENT")[0])
    assert (prefix, version, package) == (sys.prefix, sys.version, tesserank.__file__)


def test_the_variant_and_the_response_cache_are_in_force(client: Any) -> None:
    config = client.get_model_config("echo", as_json=True)["config"]
    assert config["parameters"]["variant"]["string_value"] == "cached"
    echo(client, factor=7.0)
    echo(client, factor=7.0)
    (statistics,) = client.get_inference_statistics("echo", as_json=True)["model_stats"]
    assert int(statistics["inference_stats"]["cache_hit"]["count"]) >= 1


def test_metrics_are_served_at_their_url(server: TritonServer) -> None:
    with urllib.request.urlopen(server.urls.metrics, timeout=10) as answer:
        assert "nv_inference_count" in answer.read().decode()


def test_a_failure_while_the_server_runs_leaves_no_process_no_shared_memory_and_no_file(
    echo_repository: Path, launch: Launch, family: Callable[[int], list[psutil.Process]], survivors: Callable[..., Any]
) -> None:
    files_before = run_directories()
    with contextlib.suppress(ZeroDivisionError), launch(echo_repository) as running:
        processes = family(running.pid)
        (run_directory,) = run_directories() - files_before
        assert processes[0].name() == "tritonserver"
        assert len(processes) >= 2, "the Python stub is a process of its own"
        assert list(SHARED_MEMORY.glob(f"{run_directory.name}*"))
        raise ZeroDivisionError
    assert survivors(processes, within_s=0) == []
    assert list(SHARED_MEMORY.glob(f"{run_directory.name}*")) == []
    assert not run_directory.exists()
    running.stop()  # once more is no error
    with pytest.raises(ServerError, match="not started"):
        _ = running.pid


def test_a_killed_server_takes_its_stubs_along_and_wait_tells(
    echo_repository: Path, launch: Launch, family: Callable[[int], list[psutil.Process]], survivors: Callable[..., Any]
) -> None:
    with launch(echo_repository) as running:
        processes = family(running.pid)
        processes[0].kill()
        assert running.wait(timeout_s=10) == -9
        assert "ended by signal 9" in str(running.failure())
        assert survivors(processes) == []


@pytest.mark.parametrize("flag", ["http_port", "grpc_port", "metrics_port"])
def test_a_port_in_use_is_named_with_its_flag(echo_repository: Path, flag: str) -> None:
    ports = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
    files_before = run_directories()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        option = "--" + flag.replace("_", "-")
        message = f"port {port} is in use: choose another with {option}, or 0 for any free port"
        with pytest.raises(ServerError, match=re.escape(message)):
            TritonServer(echo_repository, **(ports | {flag: port})).start()
    assert run_directories() == files_before


@pytest.mark.parametrize("exists", [True, False], ids=["empty", "absent"])
def test_a_repository_without_models_says_how_to_make_one(tmp_path: Path, exists: bool) -> None:
    repository = tmp_path if exists else tmp_path / "absent"
    message = f"no model repository at {repository}: make one with `make export`"
    with pytest.raises(ServerError, match=re.escape(message)):
        TritonServer(repository)


def test_an_unknown_variant_is_refused_with_the_known_ones(echo_repository: Path) -> None:
    with pytest.raises(ServerError, match="'tensorrtt': --model-config-name is one of cached"):
        TritonServer(echo_repository, model_config_name="tensorrtt")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_the_embedded_server_refuses_to_listen_beyond_this_machine(echo_repository: Path, host: str) -> None:
    with pytest.raises(ServerError, match=r"not a loopback address.*--allow-remote"):
        TritonServer(echo_repository, host=host)


def test_a_model_that_fails_to_load_is_named_with_its_exception(
    tmp_path: Path, launch: Launch, write_model: Callable[..., Path]
) -> None:
    broken = """
    class TritonPythonModel:
        def initialize(self, args):
            raise RuntimeError("index 4f2c is corrupt: make export")
    """
    write_model(tmp_path / "repository", "broken", MINIMAL_CONFIG % "broken", broken)
    log_file = tmp_path / "logs" / "triton.log"
    files_before = run_directories()
    with pytest.raises(ServerError) as caught:
        launch(tmp_path / "repository", log_file=log_file).start()
    message = str(caught.value)
    assert "model broken: RuntimeError: index 4f2c is corrupt: make export\n" in message
    assert message.endswith(f"The whole log: {log_file}")
    assert "Traceback" not in message
    assert "index 4f2c" in log_file.read_text()
    assert run_directories() == files_before


def test_a_configuration_that_cannot_be_read_is_quoted(
    tmp_path: Path, launch: Launch, write_model: Callable[..., Path]
) -> None:
    write_model(tmp_path / "repository", "misspelt", MINIMAL_CONFIG % "misspelt" + "max_batch_sise: 3", "")
    with pytest.raises(ServerError, match="max_batch_sise"):
        launch(tmp_path / "repository", log_file=tmp_path / "log").start()


def test_a_server_that_is_never_ready_is_ended(
    tmp_path: Path, launch: Launch, write_model: Callable[..., Path], survivors: Callable[..., Any]
) -> None:
    slow = """
    import os, pathlib, time
    class TritonPythonModel:
        def initialize(self, args):
            pathlib.Path(args["model_repository"], "pid").write_text(str(os.getpid()))
            time.sleep(300)
    """
    write_model(tmp_path / "repository", "slow", MINIMAL_CONFIG % "slow", slow)
    with pytest.raises(ServerError, match=r"not ready after 2 s"):
        launch(tmp_path / "repository", log_file=tmp_path / "log", ready_timeout_s=2, exit_timeout_s=0).start()
    pid = int((tmp_path / "repository" / "slow" / "pid").read_text())
    assert not psutil.pid_exists(pid) or survivors([psutil.Process(pid)]) == []
