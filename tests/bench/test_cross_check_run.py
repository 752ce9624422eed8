"""perf_analyzer itself, where `make perf-analyzer` fetched it: the same requests, and the comparison as a command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tesserank import protocol
from tesserank.cli import main
from tesserank.errors import ConfigError
from tesserank.server import TritonServer
from tesserank_bench.cross_check import command
from tesserank_bench.cross_check.command import Load
from tesserank_bench.cross_check.input_data import write_input_data
from tesserank_bench.cross_check.perf_analyzer import ClosedLoop, PerfAnalyzer, find_perf_analyzer
from tesserank_client import Client
from tesserank_loadtest.plan import Model, WorkloadOptions
from tesserank_loadtest.scenario import load_scenario
from tesserank_loadtest.workload import CrossEncoderRequest, Workload
from tests.loadtest.conftest import write_stand_ins

TIMEOUT_S, SERVICE_MS, ITEMS = 5.0, 100.0, 200

# Notes what came, before anything else: of each input its name, shape and content, and the deadline.
NOTING = """
    def note(self, request):
        inputs = sorted(
            (tensor.name(), list(tensor.as_numpy().shape), repr(tensor.as_numpy().tolist()))
            for tensor in request.inputs()
        )
        with open(pathlib.Path(__file__).with_name("came"), "a") as stream:
            print(json.dumps([inputs, request.timeout()]), file=stream)

    def execute(self, requests):
        for request in requests:
            self.note(request)
"""


@pytest.fixture(scope="module")
def program() -> Path:
    try:
        return find_perf_analyzer(None)
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, program: Path) -> Path:
    """Stand-ins that take SERVICE_MS and keep what came in a file beside their model."""
    repository = write_stand_ins(tmp_path_factory.mktemp("noting"))
    for interface in protocol.INTERFACES:
        model = repository / interface.model / "1" / "model.py"
        model.write_text(model.read_text().replace("\n    def execute(self, requests):\n", NOTING))
    return repository


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[TritonServer]:
    with TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0) as running:
        yield running


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("items") / "items.txt"
    path.write_text("\n".join(f"item-{number}" for number in range(ITEMS)))
    return path


@pytest.mark.parametrize("model", ["recommend", "cross_encoder"])
def test_it_sends_what_the_client_sends(
    tmp_path: Path, repository: Path, server: TritonServer, program: Path, items: Path, model: Model
) -> None:
    workload = Workload(WorkloadOptions(items, load_scenario("ecommerce")), items.read_text().split())
    prepared = [workload.prepare(turn, model) for turn in workload.stretch(20)]
    came = repository / model / "1" / "came"
    with Client(server.urls.grpc, timeout=TIMEOUT_S) as client:
        for request in prepared:
            if isinstance(request, CrossEncoderRequest):
                client.cross_encode(request.history_text, request.candidate_texts)
            else:
                client.recommend_many([request])
    by_client = came.read_text().splitlines()
    came.unlink()
    write_input_data(prepared, tmp_path / "input.json")
    loop = ClosedLoop(server.urls.grpc, model, tmp_path / "input.json", 4, len(prepared), TIMEOUT_S)
    figures = PerfAnalyzer(program, tmp_path).run(loop, tmp_path / "run")
    by_perf_analyzer = came.read_text().splitlines()
    came.unlink()
    assert sorted(by_perf_analyzer) == sorted(by_client)
    assert len(by_client) == len(prepared)
    assert len(set(by_client)) > len(prepared) / 2
    assert SERVICE_MS <= figures["reported"]["p50_ms"] < 2 * SERVICE_MS + 50.0  # of its turn, and half of another's


def test_the_command_compares_both_on_a_running_server(
    tmp_path: Path, server: TritonServer, program: Path, items: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "LOADS", (Load("recommend", 10, 4),))
    out = tmp_path / "result.json"
    options = ["--grpc-url", server.urls.grpc, "--workload", str(items), "--perf-analyzer", str(program)]
    options += ["--rounds", "2", "--seconds", "1", "--seed", "5", "--out", str(out)]
    assert main(["bench", "loadtest-cross-check", *options]) == 0
    result = json.loads(out.read_text())
    assert result["conditions"]["seed"] == 5
    assert result["perf_analyzer"][:1].isdigit()
    (load,) = result["loads"]
    assert load["load"] == {"model": "recommend", "candidates": 10, "users": 4}
    assert len(load["rounds"]) == 2
    for each in load["rounds"]:
        assert each["perf_analyzer"]["recounted"]["mean_ms"] == pytest.approx(
            each["perf_analyzer"]["reported"]["mean_ms"], rel=1e-2
        )
        # Four users whose answers take a tenth of a second, in one process of a server or in its queue.
        for figures in (each["tesserank"], each["perf_analyzer"]["recounted"]):
            assert figures["p50_ms"] >= SERVICE_MS
            assert figures["throughput_per_s"] <= 4 / (SERVICE_MS / 1e3)
    assert [each["figure"] for each in load["comparison"]] == ["p50_ms", "p95_ms", "p99_ms", "throughput_per_s"]
    assert "from an answer to the same user's next request" in load["explanation"]
