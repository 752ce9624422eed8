"""``tesserank bench gpu`` without a GPU: the whole run on the CPU with a stand-in for the clock."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

os.environ.setdefault("TRITON_INTERPRET", "1")  # before the kernels are imported; see tests/gpu/conftest.py

from tesserank.errors import ConfigError
from tesserank.paths import CHECKOUT
from tesserank_bench.errors import BenchmarkError
from tesserank_bench.gpu import ceilings, command, contestants, plan, run, suite, timing
from tesserank_bench.gpu.contestants import ANSWER, KERNEL, LOOP, SERVED, TWO_PASSES
from tesserank_bench.gpu.material import Material
from tesserank_bench.gpu.plan import FULL, QUICK, Shape
from tesserank_bench.gpu.verdicts import verdicts
from tesserank_evaluation.conditions import PACKAGES

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: make gpu-check measures it")
CPU = torch.device("cpu")


def once(call: Callable[[], object]) -> float:
    """A clock that runs what is timed, and says that it took a millisecond."""
    call()
    return 1e-3


def test_without_a_gpu_it_says_what_is_needed() -> None:
    with pytest.raises(ConfigError, match=r"no NVIDIA GPU: torch .* finds none.*GPU_PYTHON="):
        command.require_gpu()


def test_gpu_check_finds_its_packages_where_they_are_not_installed() -> None:
    (found,) = re.findall(r"PYTHONPATH=(\S+benchmarks\S+);", (CHECKOUT / "Makefile").read_text(encoding="utf-8"))
    path = os.pathsep.join([found, sysconfig.get_paths()["purelib"]])
    for benchmark in (["gpu", "--tests"], ["latency", "--device", "cuda"]):
        command = [sys.executable, "-S", "-m", "tesserank_bench", *benchmark]  # -S: without what .pth files name
        done = subprocess.run(
            command, cwd=CHECKOUT, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
        )
        assert (done.returncode, "no NVIDIA GPU" in done.stderr) == (2, True), done.stderr


def test_the_whole_run_writes_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = {"name": "Some GPU", "capability": "9.0", "memory_gib": 1.0, "multiprocessors": 1, "cuda": "13"}
    monkeypatch.setattr(command, "require_gpu", lambda: CPU)
    monkeypatch.setattr(command, "describe", lambda device: gpu)
    monkeypatch.setattr(timing, "on_the_gpu", once)
    monkeypatch.setattr(timing, "in_a_graph", once)
    monkeypatch.setattr(suite, "run", lambda report: {"tests": 9, "failures": 1, "errors": 0, "skipped": 0})
    out = tmp_path / "gpu.json"
    args = argparse.Namespace(quick=True, json=False, seed=3, out=out, tests=True, tune=False, commit="abc")
    assert command.run(args) == 1, "a test failed"
    result = json.loads(out.read_text())
    assert result["gpu"] == gpu
    assert result["tests"]["failures"] == 1
    assert (result["conditions"]["commit"], result["conditions"]["seed"]) == ("abc", 3)
    assert {"torch", "triton"} <= set(result["conditions"]["versions"])
    assert set(result["ceilings"]) == {"copy", "float16", "bfloat16", "int8", "fp8"}
    assert result["ceilings"]["copy"] == 2 * plan.QUICK_COPY_BYTES / 1e-3
    assert [shape["name"] for shape in result["shapes"]] == [shape.name for shape in QUICK]
    candidates = result["shapes"][0]
    assert candidates["seconds"][KERNEL] == candidates["seconds"][LOOP] == 1e-3
    for name in contestants.PEERS:
        assert candidates["seconds"][name] == f"not measured: {name} is not installed"
    assert 0 < candidates["error_of_bound"] <= 1
    assert [{SERVED, TWO_PASSES} & set(shape["seconds"]) for shape in result["shapes"]] == [
        {SERVED}, {SERVED}, set(), {SERVED, TWO_PASSES}
    ]  # fmt: skip
    assert ["proven_share" in shape for shape in result["shapes"]] == [False, False, False, True]
    assert 0 <= result["shapes"][-1]["proven_share"] <= 1
    assert {entry["verdict"] for entry in result["targets"]} >= {"met", "not met", "not measured"}


def test_a_kernel_that_is_wrong_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    material = Material.make(QUICK[0], CPU, 0)
    assert run.largest_error(material, 0) <= 1
    right = run.unit_scores
    monkeypatch.setattr(run, "unit_scores", lambda *arguments: right(*arguments) + 0.01)
    with pytest.raises(BenchmarkError, match=r"unit scores are off by .* not worth timing"):
        run.largest_error(material, 0)


def test_what_does_not_run_says_so_and_the_rest_goes_on() -> None:
    def unwilling(call: Callable[[], object]) -> float:
        raise RuntimeError("out of resource: shared memory\nand more")

    (result,) = run.Bench(CPU, unwilling, once, 0).shapes(QUICK[:1], {"copy": 1.0, "float16": 1.0}, lambda line: None)
    assert result["seconds"][KERNEL] == "not measured: RuntimeError: out of resource: shared memory"
    assert {entry["verdict"] for entry in verdicts([result])} == {"not measured"}

    def full(call: Callable[[], object]) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    (result,) = run.Bench(CPU, full, once, 0).shapes(QUICK[:1], {"copy": 1.0, "float16": 1.0}, lambda line: None)
    assert result["not_measured"] == "not measured: CUDA out of memory. Tried to allocate 20 GiB"
    assert {entry["verdict"] for entry in verdicts([result])} == {"not measured"}


def test_other_tiles_are_tried_fastest_first() -> None:
    seconds = iter([3.0, 1.0, 2.0, *[4.0] * 99])
    bench = run.Bench(CPU, lambda call: next(seconds), once, 0, tune=True)
    tiles = bench._tiles(Material.make(QUICK[0], CPU, 0))
    assert [tile["seconds"] for tile in tiles][:3] == [1.0, 2.0, 3.0]
    assert all(tile["slots"] <= 16 for tile in tiles)


def test_the_floor_is_the_larger_of_bytes_and_operations() -> None:
    shape = Shape("x", items=1000, tokens=10, segments=2, length=8, dim=128)
    assert shape.operations == 2 * 16 * 10_000 * 128
    assert shape.bytes == 10_000 * 128 * 2
    assert ceilings.floor_seconds(shape, {"copy": 1e6, "float16": 1e12}) == shape.bytes / 1e6
    assert ceilings.floor_seconds(shape, {"copy": 1e12, "float16": 1e6}) == shape.operations / 1e6
    assert ceilings.floor_seconds(shape, {"copy": 1e12, "float16": "not measured: x"}) is None


@pytest.mark.parametrize(
    ("storage", "wide", "multiplied"),
    [("int8", True, "float16"), ("int8", False, "int8"), ("fp8", False, "fp8"), ("bfloat16", True, "bfloat16")],
)
def test_the_ceiling_is_that_of_what_is_multiplied(storage: str, wide: bool, multiplied: str) -> None:
    assert Shape("x", 1, 1, 1, 1, storage, wide).multiplied == multiplied


def test_the_shapes_are_those_of_the_targets() -> None:
    big = next(shape for shape in FULL if shape.name == "10M int8")
    assert round(big.operations / 1e12, 1) == 6.6
    assert round(big.bytes / 1e9, 1) == 20.5


def measured(**seconds: Any) -> dict[str, Any]:
    shape = {"name": "x", "users": 2, "at_most_ms": 8.0, "over_loop": 4.0, "over_peers": 2.5, "floor_seconds": 0.7}
    names = {"kernel": KERNEL, "answer": ANSWER, "loop": LOOP, "flash": contestants.FLASH, "late": contestants.LATE}
    return shape | {"seconds": {names[name]: value for name, value in seconds.items()}}


def test_targets_are_judged_by_the_better_peer_and_by_the_user() -> None:
    found = verdicts([measured(kernel=1.0, answer=0.015, loop=4.0, flash=3.0, late=2.0)])
    assert [(entry["found"], entry["verdict"]) for entry in found] == [
        (7.5, "met"),
        (4.0, "met"),
        (2.0, "not met"),
        (0.7, "met"),
    ]
    found = verdicts([measured(kernel=1.0, answer="not measured: x", loop=3.9)])
    assert [entry["verdict"] for entry in found] == ["not measured", "not met", "not measured", "met"]


def test_a_gpus_name_becomes_a_files() -> None:
    assert command.file_name("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"


def test_the_suites_report_is_counted(tmp_path: Path) -> None:
    tests = tmp_path / "test_some.py"
    tests.write_text(
        "import pytest\n"
        "import tesserank_bench.gpu.suite\n"
        "def test_right(): pass\n"
        "def test_wrong(): assert not 'right'\n"
        "@pytest.mark.gpu\n"
        "def test_elsewhere(): pytest.skip('no')\n"
    )
    assert suite.run(tmp_path / "report.xml", tests) == {"tests": 3, "failures": 1, "errors": 0, "skipped": 1}
    assert suite.run(tmp_path / "report.xml", tmp_path / "nothing.py")["tests"] == 0


def test_a_pytest_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    assert suite.counts(tmp_path / "none.xml") == {"tests": 0, "failures": 0, "errors": 1, "skipped": 0}


def test_the_versions_that_decide_are_recorded() -> None:
    assert {"torch", "triton", *contestants.PEERS} <= set(PACKAGES)
