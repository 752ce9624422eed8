"""Tiny models for a real tritonserver: an echo, and stand-ins for the pipeline's five that fail on request."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tesserank import protocol
from tesserank.server import TritonServer

ECHO_CONFIG = """
name: "echo"
backend: "python"
max_batch_size: 8
input [
  { name: "X" data_type: TYPE_FP32 dims: [ -1 ] },
  { name: "FACTOR" data_type: TYPE_FP32 dims: [ 1 ] optional: true }
]
output [
  { name: "Y" data_type: TYPE_FP32 dims: [ -1 ] },
  { name: "ENVIRONMENT" data_type: TYPE_STRING dims: [ -1 ] }
]
dynamic_batching { }
instance_group [ { kind: KIND_CPU count: 1 } ]
"""
ECHO_MODEL = """
import sys

import numpy as np
import onnxruntime
import tokenizers
import triton_python_backend_utils as pb_utils

import tesserank


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
        factor = pb_utils.get_input_tensor_by_name(request, "FACTOR")
        y = x if factor is None else x * factor.as_numpy()
        facts = [sys.prefix, sys.version, tesserank.__file__, np.__version__, onnxruntime.__version__]
        environment = np.array([[fact.encode() for fact in facts]] * len(x), dtype=np.object_)
        return pb_utils.InferenceResponse([pb_utils.Tensor("Y", y), pb_utils.Tensor("ENVIRONMENT", environment)])
"""
# Answers with one row of the protocol's tensors; a file named `fault` beside it makes it misbehave.
STAND_IN_MODEL = """
import json
import os
import pathlib
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.outputs = json.loads(args["model_config"])["output"]
        self.fault_file = pathlib.Path(__file__).with_name("fault")

    def execute(self, requests):
        fault = self.fault_file.read_text() if self.fault_file.exists() else ""
        if fault == "exit":
            os._exit(1)
        if fault == "raise":
            raise ValueError("the index is gone")
        if fault == "sleep":
            time.sleep(1.5)
        return [self.answer(request, fault) for request in requests]

    def answer(self, request, fault):
        names = pb_utils.get_input_tensor_by_name(request, "TEXT_NAMES")
        if names is not None and names.as_numpy()[0, 0] != b"":  # the canary names none
            error = pb_utils.TritonError("no such text segment", pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=error)
        return pb_utils.InferenceResponse([self.tensor(output, fault) for output in self.outputs])

    def tensor(self, output, fault):
        dtype = pb_utils.triton_string_to_numpy(output["data_type"])
        value = b"x" if dtype is np.object_ else np.nan if fault == "nan" and dtype is np.float32 else 1
        shape = [1, *(abs(int(dim)) for dim in output["dims"])]
        return pb_utils.Tensor(output["name"], np.full([0, *shape[1:]] if fault == "empty" else shape, value, dtype))
"""


def write_model(repository: Path, name: str, config: str, source: str) -> Path:
    """Writes one Python model; returns the folder of its version."""
    version = repository / name / "1"
    version.mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(textwrap.dedent(config))
    (version / "model.py").write_text(textwrap.dedent(source))
    return version


def write_pipeline(repository: Path, *, without: str = "") -> Path:
    """Writes stand-ins for the models of the protocol, all but one."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    def tensor(kind: Any, declared: protocol.Tensor) -> Any:
        datatype = "STRING" if declared.datatype == "BYTES" else declared.datatype
        options = {"optional": True} if declared.optional else {}
        return kind(name=declared.name, data_type=f"TYPE_{datatype}", dims=declared.shape, **options)

    for interface in protocol.INTERFACES:
        if interface.model != without:
            config = model_config_pb2.ModelConfig(
                name=interface.model,
                backend="python",
                max_batch_size=8,
                input=[tensor(model_config_pb2.ModelInput, declared) for declared in interface.inputs],
                output=[tensor(model_config_pb2.ModelOutput, declared) for declared in interface.outputs],
            )
            write_model(repository, interface.model, text_format.MessageToString(config), STAND_IN_MODEL)
    return repository


def launch(repository: Path, **options: Any) -> TritonServer:
    """A server on free ports."""
    return TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0, **options)


def family(pid: int) -> list[psutil.Process]:
    """A process and all its descendants."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def survivors(processes: list[psutil.Process], within_s: float = 15.0) -> list[psutil.Process]:
    """Those still running when ``within_s`` has passed; a zombie that its new parent has not reaped does not run."""
    deadline = time.monotonic() + within_s
    while running := [process for process in processes if _runs(process)]:
        if time.monotonic() > deadline:
            return running
        time.sleep(0.05)
    return []


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


# Test folders are no packages, so helpers reach the tests as fixtures.
@pytest.fixture(name="write_model", scope="session")
def write_model_fixture() -> Callable[..., Path]:
    return write_model


@pytest.fixture(name="write_pipeline", scope="session")
def write_pipeline_fixture() -> Callable[..., Path]:
    return write_pipeline


@pytest.fixture(name="launch", scope="session")
def launch_fixture() -> Callable[..., TritonServer]:
    return launch


@pytest.fixture(name="family", scope="session")
def family_fixture() -> Callable[[int], list[psutil.Process]]:
    return family


@pytest.fixture(name="survivors", scope="session")
def survivors_fixture() -> Callable[..., list[psutil.Process]]:
    return survivors


@pytest.fixture(scope="module")
def echo_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = tmp_path_factory.mktemp("echo")
    write_model(repository, "echo", ECHO_CONFIG, ECHO_MODEL)
    (repository / "echo" / "configs").mkdir()
    variant = 'response_cache { enable: true }\nparameters { key: "variant" value { string_value: "cached" } }\n'
    (repository / "echo" / "configs" / "cached.pbtxt").write_text(ECHO_CONFIG + variant)
    return repository


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, TritonServer]]:
    repository = write_pipeline(tmp_path_factory.mktemp("pipeline"))
    with launch(repository) as server:
        yield repository, server
