"""Stand-ins for the pipeline's models on a real tritonserver: quick, and failing when told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tesserank import protocol
from tesserank.server import TritonServer


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No run is invalid because this machine was busy: that a generator may not lag has tests of its own."""
    monkeypatch.setattr("tesserank_loadtest.verdicts.LARGEST_LAG_MS", 1000.0)
    monkeypatch.setattr("tesserank_loadtest.verdicts.BUSIEST_CPU", 10.0)


# One row of the protocol's tensors. Waiting requests are answered together after SERVICE_S, so the throughput tells how
# many users wait at a time. A file named `fault` beside the model holds the error that it answers with.
STAND_IN_MODEL = """
import json
import pathlib
import time

import numpy as np
import triton_python_backend_utils as pb_utils

SERVICE_S = 0.1


class TritonPythonModel:
    def initialize(self, args):
        self.outputs = json.loads(args["model_config"])["output"]
        self.fault_file = pathlib.Path(__file__).with_name("fault")

    def execute(self, requests):
        if self.fault_file.exists():
            return [self.refuse(self.fault_file.read_text()) for _ in requests]
        time.sleep(SERVICE_S)
        return [self.answer(request) for request in requests]

    def refuse(self, text):
        # one error object for several responses brings the whole server down (Triton 24.10)
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(text, pb_utils.TritonError.INTERNAL))

    def answer(self, request):
        texts = pb_utils.get_input_tensor_by_name(request, "CANDIDATE_TEXTS")
        length = 1 if texts is None else texts.as_numpy().shape[1]
        return pb_utils.InferenceResponse([self.tensor(output, length) for output in self.outputs])

    def tensor(self, output, length):
        dtype = pb_utils.triton_string_to_numpy(output["data_type"])
        shape = [1, *(length if int(dim) < 0 else int(dim) for dim in output["dims"])]
        return pb_utils.Tensor(output["name"], np.full(shape, b"x" if dtype is np.object_ else 1, dtype))
"""


def write_stand_ins(repository: Path) -> Path:
    """Writes a stand-in for every model of the protocol."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    def tensor(kind: Any, declared: protocol.Tensor, **options: Any) -> Any:
        datatype = "STRING" if declared.datatype == "BYTES" else declared.datatype
        return kind(name=declared.name, data_type=f"TYPE_{datatype}", dims=declared.shape, **options)

    def model_input(declared: protocol.Tensor) -> Any:
        # ragged: histories of different lengths may be answered together
        return tensor(model_config_pb2.ModelInput, declared, optional=declared.optional, allow_ragged_batch=True)

    for interface in protocol.INTERFACES:
        config = model_config_pb2.ModelConfig(
            name=interface.model,
            backend="python",
            max_batch_size=16,
            input=[model_input(declared) for declared in interface.inputs],
            output=[tensor(model_config_pb2.ModelOutput, declared) for declared in interface.outputs],
            dynamic_batching=model_config_pb2.ModelDynamicBatching(),
        )
        version = repository / interface.model / "1"
        version.mkdir(parents=True)
        (version.parent / "config.pbtxt").write_text(text_format.MessageToString(config))
        (version / "model.py").write_text(STAND_IN_MODEL)
    return repository


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_ins(tmp_path_factory.mktemp("stand_ins"))


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[TritonServer]:
    with TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0) as running:
        yield running


@pytest.fixture
def fault(repository: Path) -> Iterator[Callable[[str], None]]:
    """``fault(error)``: from now on, until the test ends, ``recommend`` answers with this error."""
    path = repository / "recommend" / "1" / "fault"

    def set_fault(error: str) -> None:
        path.write_text(error)

    yield set_fault
    path.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def item_ids() -> tuple[str, ...]:
    return tuple(f"item-{number}" for number in range(50))


@pytest.fixture(scope="session")
def items_file(tmp_path_factory: pytest.TempPathFactory, item_ids: tuple[str, ...]) -> Path:
    path = tmp_path_factory.mktemp("items") / "items.txt"
    path.write_text("\n".join(item_ids))
    return path
