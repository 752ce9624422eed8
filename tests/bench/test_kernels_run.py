"""``tesserank bench kernels`` from end to end, on a tiny encoder and a real server; and interrupted."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tesserank.cli import main
from tesserank_bench import results
from tesserank_bench.kernels import ceilings, command, maxsim, verdicts
from tesserank_bench.kernels.encoder import RAW, SEGMENTS, SENTENCE_TRANSFORMERS, SERVED, SESSIONS
from tesserank_bench.kernels.maxsim import COARSE, kinds
from tesserank_bench.kernels.plan import BASE, QUICK, THREADS, Plan
from tesserank_bench.latency.rounds import Case
from tests.bench.test_latency_run import write_catalogue
from tests.export.tiny import save_bert

SMALL = replace(BASE, items=200)
TINY = replace(
    QUICK,
    rounds=2,
    shapes=(SMALL,),
    gather=100,
    sample_s=0.0,
    contest_items=(50,),
    texts=20,
    encoder_rounds=1,
    batches=(1, 8),
    callers=3,
)


def run(folder: Path, *options: object) -> tuple[int, list[str]]:
    with redirect_stdout(io.StringIO()) as output:
        status = main(["bench", "kernels", "--quick", "--work", str(folder / "work"), *map(str, options)])
    return status, output.getvalue().splitlines()


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The run's folder and what it printed."""
    root = tmp_path_factory.mktemp("kernels")
    options = ["--json", "--data", write_catalogue(root / "shop"), "--model", save_bert(root / "model"), "--dim", 16]
    options += ["--exports", root / "exports", "--peers-python", root / "none", "--out", root / "result" / "k.json"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "QUICK", TINY)
        for module in (maxsim, verdicts):
            patch.setattr(module, "BASE", SMALL)
        patch.setattr(ceilings, "SIZES", ((128, 128, 128),))
        patch.setattr(ceilings, "COPIED_BYTES", 1 << 22)
        status, lines = run(root, *options)
    assert status == 0
    return root / "result", lines


@pytest.fixture(scope="module")
def result(printed: tuple[Path, list[str]]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed[1][-1])
    return found


def test_the_last_line_is_the_result_that_was_written(printed: tuple[Path, list[str]], result: dict[str, Any]) -> None:
    folder, lines = printed
    assert json.loads((folder / "k.json").read_text(encoding="utf-8")) == result
    assert lines[-2] == f"written: {folder / 'k.json'}"
    assert lines[-3] == f"drawn: {folder / 'maxsim-ceilings.svg'}"
    assert result["complete"]
    assert all(verdict["verdict"] != "not measured" for verdict in result["targets"])


def test_every_kind_of_ceiling_was_measured(result: dict[str, Any]) -> None:
    found = {(entry["ceiling"], entry["threads"]) for entry in result["ceilings"]}
    assert found == {(n, t) for n in ("fp32 gemm", "bf16 gemm", "int8 gemm", "memory copy") for t in THREADS}


def test_maxsim_agrees_with_float64(result: dict[str, Any]) -> None:
    entries = result["maxsim"]
    assert len(entries) == 4 * len(kinds())  # one thread and two, all items and some picked
    for entry in entries:
        assert entry["kernel_error"] < (2e-2 if entry["vectors"] == COARSE else 1e-4)
        assert entry["max_error"] < (1e-3 if entry["vectors"] == "float16" else 2e-2)
        assert entry["top10_agreement"] >= 0.9
        assert len(entry["seconds"]) == TINY.rounds
        assert entry["gops"] >= entry["median_gops"] > 0


def test_whoever_is_not_installed_says_so(result: dict[str, Any]) -> None:
    found = {(entry["peer"], entry["items"]): entry["status"] for entry in result["contest"]}
    for (peer, _), status in found.items():
        own = peer.startswith(("tesserank", "torch"))
        assert status == "measured" if own else status.endswith("make bench-peers")
    assert {items for _, items in found} == {50}


def test_the_served_encoder_gives_what_the_raw_one_gives(result: dict[str, Any]) -> None:
    entries = {(entry["texts"], entry["contestant"]): entry for entry in result["encoder"]}
    for texts in (SEGMENTS, SESSIONS):
        assert entries[texts, SERVED]["max_difference_from_raw"] < 1e-4
        assert entries[texts, SERVED]["tokens_per_s"] > 0
        # The system counts processor time in hundredths of a second, in which so small a load may round to nothing.
        assert len(entries[texts, SERVED]["cpu_seconds"]) == len(entries[texts, SERVED]["seconds"])
        assert entries[texts, RAW]["batch"] in TINY.batches
        assert len(entries[texts, RAW]["tried"]) == 4
        assert entries[texts, SENTENCE_TRANSFORMERS]["status"].endswith("make bench-peers")


def test_a_pressed_ctrl_c_keeps_what_was_measured_and_not_as_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(cases: list[Case], *rest: object) -> None:
        if any("vectors" in case.key for case in cases):
            raise KeyboardInterrupt
        for case in cases:
            case.run(0)

    monkeypatch.setattr(maxsim, "run_rounds", interrupted)
    monkeypatch.setattr(results, "RESULTS", tmp_path / "record")
    monkeypatch.setattr(command, "QUICK_RESULTS", tmp_path / "kept")
    plan: Plan = replace(TINY, shapes=(replace(BASE, items=50),))
    monkeypatch.setattr(command, "FULL", plan)
    with redirect_stdout(io.StringIO()):
        status = main(["bench", "kernels", "--part", "maxsim", "--work", str(tmp_path / "work")])
    assert status == 130
    kept = json.loads((tmp_path / "kept" / "kernels-cpu.json").read_text(encoding="utf-8"))
    assert not kept["complete"]
    assert kept["ceilings"]
    assert kept["maxsim"] == []
    assert not (tmp_path / "record").exists()
