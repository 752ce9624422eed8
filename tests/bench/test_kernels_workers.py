"""Contestants in processes of their own: right answers, and failures that stay theirs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tesserank_bench.kernels import contest
from tesserank_bench.kernels.contest import PEERS, Peer
from tesserank_bench.kernels.plan import QUICK, THREADS, Shape
from tesserank_bench.kernels.task import Task, draw
from tesserank_bench.kernels.workers import SLOWING, Entry, Worker, WorkerError, own_python, worker_environment
from tesserank_bench.latency.rounds import run_rounds

SMALL = Shape(segments=2, tokens=8, items=300, item_tokens=6, dim=32)
CONTESTANTS = "tesserank_bench.kernels.contestants"
BROKEN = """
import os
from tesserank_bench.kernels.contestants.base import Contestant

class Missing(Contestant):
    def __init__(self):
        import no_such_library
    def run(self, turn): ...

class Failing(Contestant):
    def run(self, turn):
        raise RuntimeError("out of luck")

class Crashing(Contestant):
    def run(self, turn):
        os._exit(3)

class Chatty(Contestant):
    def __init__(self):
        print("hello")
    def run(self, turn):
        print("hello again")
"""


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with Worker(own_python(), tmp_path_factory.mktemp("logs") / "worker.log") as started:
        yield started


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tuple[Task, Path]:
    path = tmp_path_factory.mktemp("task") / "task.npz"
    drawn = draw(SMALL, users=2, seed=0)
    drawn.save(path)
    return drawn, path


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """A worker that can open the contestants of BROKEN."""
    (tmp_path / "broken_contestants.py").write_text(BROKEN)
    real = worker_environment(0)
    monkeypatch.setattr(
        "tesserank_bench.kernels.workers.worker_environment",
        lambda threads: real | {"PYTHONPATH": f"{real['PYTHONPATH']}:{tmp_path}"},
    )
    with Worker(own_python(), tmp_path / "worker.log") as started:
        yield started


def entry(attribute: str) -> Entry:
    return Entry(attribute, f"broken_contestants:{attribute}", {})


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize(
    ("of", "options", "tolerance"),
    [
        # One step of 254 between ± a dimension's largest component, 32 of them, unit vectors: well below 2e-2.
        pytest.param("own:Tesserank", {"kind": "int8"}, 2e-2, id="tesserank-int8"),
        pytest.param("own:Tesserank", {"kind": "float16"}, 1e-3, id="tesserank-float16"),
        pytest.param("libraries:TorchBlocks", {"dtype": "float32"}, 1e-5, id="torch-float32"),
        pytest.param("libraries:TorchBlocks", {"dtype": "bfloat16"}, 2e-2, id="torch-bfloat16"),
    ],
)
def test_scorers_agree_with_float64(
    worker: Worker,
    task: tuple[Task, Path],
    tmp_path: Path,
    of: str,
    options: dict[str, str],
    tolerance: float,
    threads: int,
) -> None:
    drawn, path = task
    opened = Entry("scorer", f"{CONTESTANTS}.{of}", options | {"task": path, "threads": threads, "rank": True})
    assert worker.open(opened) > 0
    answer = worker.answer("scorer", tmp_path)
    exact = np.stack([drawn.reference(user) for user in range(drawn.users)])
    assert answer["scores"] == pytest.approx(exact, abs=tolerance)
    assert contest.compare(list(exact), answer)["top10_agreement"] >= 0.9
    seconds, cpu = worker.time("scorer", 0, 0.001)
    assert 0 < seconds < 5
    assert cpu >= 0
    worker.close("scorer")
    with pytest.raises(WorkerError, match="KeyError"):
        worker.time("scorer", 0, 0.0)


def test_picked_candidates_are_compared_by_their_own_rows(
    worker: Worker, task: tuple[Task, Path], tmp_path: Path
) -> None:
    drawn, path = task
    options = {"task": path, "threads": 1, "rank": False, "kind": "int8", "candidates": 40}
    worker.open(Entry("picked", f"{CONTESTANTS}.own:Tesserank", options))
    answer = worker.answer("picked", tmp_path)
    assert len(set(answer["rows"].tolist())) == 40
    for user in range(drawn.users):
        assert answer["scores"][user] == pytest.approx(drawn.reference(user)[answer["rows"]], abs=2e-2)
        assert answer["scores"][user, answer["checked"]] == pytest.approx(answer["decoded"][user], abs=1e-4)


def test_pooled_vectors_find_some_of_the_best(worker: Worker, task: tuple[Task, Path], tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    drawn, path = task
    worker.open(Entry("pooled", f"{CONTESTANTS}.libraries:FaissPooled", {"task": path, "threads": 2}))
    exact = [drawn.reference(user) for user in range(drawn.users)]
    agreement = contest.compare(exact, worker.answer("pooled", tmp_path))["top10_agreement"]
    assert 0.1 < agreement < 1.0


@pytest.mark.parametrize("attribute", ["NumpyFloat32", "TorchGemm", "TorchBfloat16", "TorchInt8", "OnnxInt8"])
def test_products_run(worker: Worker, attribute: str) -> None:
    options = {"rows": 64, "depth": 32, "columns": 64, "threads": 1}
    worker.open(Entry(attribute, f"{CONTESTANTS}.ceilings:{attribute}", options))
    assert 0 < worker.time(attribute, 0, 0.0)[0] < 1


def test_copying_runs(worker: Worker) -> None:
    worker.open(Entry("copy", f"{CONTESTANTS}.ceilings:Copy", {"size": 1 << 20, "threads": 2}))
    assert 0 < worker.time("copy", 0, 0.0)[0] < 1


def test_what_a_library_prints_does_not_disturb_the_protocol(broken: Worker, tmp_path: Path) -> None:
    broken.open(entry("Chatty"))
    broken.time("Chatty", 0, 0.0)
    assert "hello again" in (tmp_path / "worker.log").read_text(encoding="utf-8")


def test_failures_say_what_failed_and_the_worker_goes_on(broken: Worker, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="no module no_such_library") as missing:
        broken.open(entry("Missing"))
    assert missing.value.missing == "no_such_library"
    broken.open(entry("Failing"))
    with pytest.raises(WorkerError, match="RuntimeError: out of luck") as failed:
        broken.time("Failing", 0, 0.0)
    assert failed.value.missing is None
    broken.open(entry("Crashing"))
    with pytest.raises(WorkerError, match=r"status 3; its log: .*worker\.log"):
        broken.time("Crashing", 0, 0.0)
    with pytest.raises(WorkerError, match="status 3"):
        broken.open(entry("Chatty"))


def test_one_that_fails_while_timed_does_not_stop_the_others(broken: Worker) -> None:
    cases = []
    for name in ("Failing", "Chatty"):
        broken.open(entry(name))
        cases.append(contest.ForgivingCase({"peer": name, "status": "measured"}, 3, broken, name, 0.0))
    run_rounds(cases, 3, 0, lambda done: None)
    assert cases[0].key["status"] == "failed: RuntimeError: out of luck"
    assert cases[0].seconds == []
    assert cases[1].key["status"] == "measured"
    assert len(cases[1].seconds) == 3


def test_peers_that_are_not_installed_say_so_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Peer("torch float32", "libraries:TorchBlocks", {"dtype": "float32", "rank": True}, own=True)
    monkeypatch.setattr(contest, "PEERS", (own, *(peer for peer in PEERS if not peer.own)))
    result: contest.Result = {}
    drawn = draw(SMALL, users=1, seed=0)
    contest.measure(QUICK, drawn, tmp_path / "bin" / "python", tmp_path, 0, lambda line: None, result)
    assert result["contest"][0]["status"] == "measured"
    assert result["contest"][0]["p50_ms"] > 0
    assert len(result["contest"][0]["seconds"]) == QUICK.contest_rounds
    absent = {entry["status"] for entry in result["contest"][1:]}
    assert absent == {f"not installed (no {tmp_path / 'bin' / 'python'}): make bench-peers"}
    assert len(result["contest"]) == len([peer for peer in PEERS if not peer.own]) + 1


def test_what_slows_a_blas_down_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SLOWING:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("SOMETHING", "else")
    environment = worker_environment(2)
    assert not set(SLOWING) & set(environment)
    assert environment["SOMETHING"] == "else"
    assert environment["OMP_NUM_THREADS"] == "2"
    assert "RAYON_NUM_THREADS" not in worker_environment(0)
    assert sys.executable == str(own_python())
