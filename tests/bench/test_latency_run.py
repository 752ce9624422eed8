"""``tesserank bench latency`` from end to end, on a tiny encoder and real servers."""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import random
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tesserank.cli import main
from tesserank_bench.errors import BenchmarkError
from tesserank_bench.latency import command
from tesserank_bench.latency.bench import Result
from tesserank_bench.latency.paths import COLD, CROSS_FP32, CROSS_INT8, HOT, ITEMS, ONE_SEGMENT, WARM, due
from tesserank_bench.latency.plan import CATALOGUE, COMPARED, QUICK, Plan
from tesserank_bench.latency.served import Settings
from tesserank_bench.latency.single import IN_PROCESS, SERVED
from tesserank_bench.latency.verdicts import find
from tesserank_bench.results import QUICK_RESULTS, RESULTS
from tests.bench.results import make_result
from tests.export.tiny import WORDS, save_bert

pytestmark = pytest.mark.timeout(600)  # three exports and three servers, on a machine that may be busy
ITEM_COUNT = 120
TINY = replace(
    QUICK,
    users=4,
    rounds=2,
    served=dict.fromkeys((ONE_SEGMENT, COLD, WARM, HOT, ITEMS), (2, 2, 0, 2))
    | {CROSS_FP32: (1, 1, 0, 0), CROSS_INT8: (1, 1, 0, 0)},
    in_process=dict.fromkeys((COLD, WARM, HOT, ITEMS), (0, 2, 0, 0)),
    observed=2,
    callers=(1, 3),
    load_requests={(COLD, COMPARED): 8, (HOT, CATALOGUE): 8},
    contest_requests=8,
    mixed_requests=8,
    history_lengths=(20, 2_000),
    history_repeats=2,
    reference_users=2,
    every_export=True,
)


def write_catalogue(folder: Path) -> Path:
    """Items and events as the real datasets have them."""
    folder.mkdir()
    draw = random.Random(0)
    with gzip.open(folder / "items.jsonl.gz", "wt", encoding="utf-8") as lines:
        for row in range(ITEM_COUNT):
            text = " ".join(draw.choices(WORDS, k=draw.randint(3, 9)))
            lines.write(json.dumps({"item_id": f"item{row}", "text": text}) + "\n")
    with gzip.open(folder / "events.csv.gz", "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "timestamp", "kind"])
        for user in range(40):
            for step in range(6):
                writer.writerow(
                    [f"u{user:02}", f"item{draw.randrange(ITEM_COUNT)}", 1_700_000_000 + step * 60, "click"]
                )
    return folder


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The run's folder and what it printed."""
    root = tmp_path_factory.mktemp("bench")
    options = ["--quick", "--json", "--data", write_catalogue(root / "shop"), "--model", save_bert(root / "model")]
    options += ["--dim", 16, "--work", root / "work", "--out", root / "result" / "latency.json"]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as output:
        patch.setattr(command, "QUICK", TINY)
        assert main(["bench", "latency", *map(str, options)]) == 0
    return root / "result", output.getvalue().splitlines()


@pytest.fixture(scope="module")
def result(printed: tuple[Path, list[str]]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed[1][-1])
    return found


def test_the_last_line_is_the_result_that_was_written(printed: tuple[Path, list[str]], result: dict[str, Any]) -> None:
    folder, lines = printed
    assert json.loads((folder / "latency.json").read_text(encoding="utf-8")) == result
    assert lines[-2] == f"written: {folder / 'latency.json'}"
    assert result["complete"]
    assert result["setup"]["items"] == ITEM_COUNT
    assert result["setup"]["threads"] == {"encoder": 2, "cross_encoder": 2, "maxsim": 2}


def test_every_path_is_timed_as_often_as_planned(result: dict[str, Any]) -> None:
    planned = {
        (SERVED, path, size): count
        for path, (ten, hundred, _, whole) in TINY.served.items()
        for size, count in ((10, ten), (100, hundred), ("catalogue", whole))
        if count
    }
    planned |= {(IN_PROCESS, path, 100): counts[1] for path, counts in TINY.in_process.items()}
    assert {(e["where"], e["path"], e["candidates"]): e["samples"] for e in result["single"]} == planned
    for entry in result["single"]:
        assert len(entry["samples_ms"]) == entry["samples"]
        assert min(entry["samples_ms"]) <= entry["p50_ms"] <= max(entry["samples_ms"])


def test_stages_add_up_and_the_encoder_works_only_where_something_is_new(result: dict[str, Any]) -> None:
    for entry in result["stages"]:
        parts = {name for name in entry if name.endswith("_ms")} - {"request_ms"}
        assert sum(entry[name] for name in parts) == pytest.approx(entry["request_ms"], abs=0.02)
        assert (entry["encode_ms"] > 0) == (due(entry["path"])[1] > 0)
        assert entry["maxsim_ms"] > 0
        assert entry["client_ms"] < entry["request_ms"]


def test_bytes_grow_with_the_candidates_that_are_named(result: dict[str, Any]) -> None:
    ten, hundred, whole = (find(result["bytes"], path=HOT, candidates=size) for size in (10, 100, "catalogue"))
    assert ten is not None
    assert hundred is not None
    assert whole is not None
    assert hundred["sent"] - ten["sent"] > 90 * len("item1")
    assert whole["sent"] < ten["sent"]
    assert 0 < ten["received"] < 10_000


def test_the_served_ranking_is_the_references(result: dict[str, Any]) -> None:
    quality = result["quality"]
    assert quality["rankings"] == 4
    assert quality["same_vectors"]["overlap"] >= 0.9
    assert quality["unquantised"]["overlap"] >= 0.8


def test_loads_are_as_cached_as_they_claim(result: dict[str, Any]) -> None:
    for entry in result["throughput"]:
        assert entry["cached_share"] == due(entry["path"])[0] / 5
        assert entry["per_second"] > 0
        assert entry["callers"] in (1, 3)
        assert 0 < entry["busiest_caller_process"] <= 1.2
    assert result["cache"]["off"]["cached_share"] == 0
    assert result["cache"]["cached"]["cached_share"] == pytest.approx(0.9, abs=0.05)
    assert result["padding"]["waste"] == 0, "int8 runs rows one by one, without padding"
    assert result["padding"]["real_tokens"] > 8 * 3 * 4


def test_histories_of_both_cuts_encode_no_more_than_what_is_new(result: dict[str, Any]) -> None:
    entries = {(entry["cut"], entry["events"]): entry for entry in result["histories"]}
    assert set(entries) == {(cut, length) for cut in ("item", "content") for length in (20, 2_000)}
    for (cut, _), entry in entries.items():
        assert entry["samples"] == 2
        assert entry["encoded_segments"] == 0 if cut == "item" else 0 < entry["encoded_segments"] <= 2


def test_what_a_long_history_costs_is_split_into_stages(result: dict[str, Any]) -> None:
    found = [(entry["cut"], entry["events"]) for entry in result["history_stages"]]
    assert found == [("item", 20), ("item", 2_000), ("content", 20), ("content", 2_000)]
    for entry in result["history_stages"]:
        assert entry["requests"] == TINY.observed
        assert (entry["encode_ms"] > 0) == (entry["cut"] == "content")
        assert 0 < entry["tokenise_ms"] < entry["request_ms"]


def test_pictures_lie_beside_a_result_that_is_not_for_the_record(printed: tuple[Path, list[str]]) -> None:
    drawn = sorted(path.name for path in printed[0].glob("*.svg"))
    assert drawn == ["latency-candidates.svg", "latency-gap.svg", "latency-history.svg", "throughput.svg"]


def arguments(**changes: Any) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    common = {"quick": False, "json": False, "seed": 0, "out": None}
    return argparse.Namespace(**vars(parser.parse_args([])) | common | changes)


Measure = Callable[[Settings, Plan, Callable[[str], None], Result], None]


def stopped_by(error: BaseException, measured: dict[str, Any]) -> Measure:
    """A measurement that gets as far as ``measured``."""

    def measure(settings: Settings, plan: Plan, say: Callable[[str], None], result: Result) -> None:
        result |= measured
        raise error

    return measure


def test_an_interrupted_run_keeps_what_it_has_and_never_where_the_record_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    partial = {name: make_result()[name] for name in ("setup", "single")}
    monkeypatch.setattr(command, "measure", stopped_by(KeyboardInterrupt(), partial))
    before = (RESULTS / "latency-cpu.json").exists()
    assert command.run(arguments()) == 130
    kept = json.loads((tmp_path / QUICK_RESULTS / "latency-cpu.incomplete.json").read_text(encoding="utf-8"))
    assert kept["complete"] is False
    assert kept["single"] == partial["single"]
    assert {verdict["verdict"] for verdict in kept["targets"]} == {"met", "not measured"}
    assert (RESULTS / "latency-cpu.json").exists() == before


def test_an_error_keeps_what_was_measured_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    partial = {name: make_result()[name] for name in ("setup", "single", "throughput")}
    monkeypatch.setattr(command, "measure", stopped_by(BenchmarkError("a caller failed"), partial))
    with pytest.raises(BenchmarkError, match="a caller failed"):
        command.run(arguments(out=tmp_path / "r.json"))
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["throughput"] == partial["throughput"]


def test_a_run_that_measured_nothing_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "measure", stopped_by(KeyboardInterrupt(), {}))
    assert command.run(arguments(out=tmp_path / "r.json")) == 130
    assert list(tmp_path.iterdir()) == []


def test_pictures_are_drawn_again_from_a_result(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    assert main(["bench", "latency", "--plot", "--out", str(path)]) == 2
    path.write_text(json.dumps(make_result() | {"quick": False, "complete": True}), encoding="utf-8")
    assert main(["bench", "latency", "--plot", "--out", str(path)]) == 0
    assert len(list(tmp_path.glob("*.svg"))) == 4
