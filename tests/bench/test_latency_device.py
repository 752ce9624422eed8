"""``tesserank bench latency --device`` on the CPU: the same code, a tiny backbone, real servers; and its arithmetic."""

from __future__ import annotations

import argparse
import gzip
import io
import json
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tesserank.cli import main
from tesserank.encoding.pytorch.attention import can_pack
from tesserank.errors import ConfigError, DataError
from tesserank_bench.latency.device import command
from tesserank_bench.latency.device.backbones import BACKBONES, OWN, SHAPES
from tesserank_bench.latency.device.catalogue import enlarged
from tesserank_bench.latency.device.plan import CROSS, FULL, HEAVY, QUICK
from tesserank_bench.latency.device.repository import Placement
from tesserank_bench.latency.device.verdicts import verdicts
from tesserank_bench.latency.device.wall import TRITON, arithmetic
from tesserank_bench.latency.paths import COLD, HOT, WARM
from tesserank_bench.latency.plan import COMPARED
from tesserank_bench.latency.served import Dataset
from tests.bench.test_latency_run import write_catalogue
from tests.export.tiny import save_bert

TINY = replace(
    QUICK,
    samples={CROSS: {10: 1, 100: 1}, **{path: {10: 2, 100: 2} for path in (COLD, WARM, HOT)}},
    loads=replace(
        QUICK.loads,
        users=4,
        rounds=2,
        observed=2,
        callers=(3,),
        load_requests={(HOT, COMPARED): 240},  # processor time is counted in ticks of 10 ms
        contest_requests=20,
    ),
)
FIGURES = ("artifact", "weights_mib", "single", "stages", "throughput", "wall", "cache", "several")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the command printed as its last line, of the export's own backbone and of one with random weights."""
    root = tmp_path_factory.mktemp("device")
    options = ["--device", "cpu", "--backbone", OWN, "--backbone", "tiny", "--quick", "--json", "--precision", "fp32"]
    options += ["--data", write_catalogue(root / "shop"), "--model", save_bert(root / "model"), "--dim", 16]
    options += ["--work", root / "work", "--out", root / "latency.json"]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as output:
        patch.setattr(command, "QUICK", TINY)
        assert main(["bench", "latency", *map(str, options)]) == 0
    found: dict[str, Any] = json.loads(output.getvalue().splitlines()[-1])
    assert json.loads((root / "latency.json").read_text(encoding="utf-8")) == found
    return found


@pytest.mark.timeout(600)
def test_every_backbone_is_measured_as_planned(result: dict[str, Any]) -> None:
    assert result["complete"]
    assert set(result["backbones"]) == {OWN, "tiny"}
    assert len({backbone["artifact"] for backbone in result["backbones"].values()}) == 2
    planned = {(path, size): count for path, samples in TINY.samples.items() for size, count in samples.items()}
    for backbone in result["backbones"].values():
        assert set(backbone) == set(FIGURES)
        assert {(e["path"], e["candidates"]): e["samples"] for e in backbone["single"]} == planned
        assert backbone["weights_mib"] > 0


def test_the_backbone_is_the_one_that_was_asked_for(result: dict[str, Any]) -> None:
    own, tiny = (result["backbones"][name]["weights_mib"] for name in (OWN, "tiny"))
    weights = sum(p.numel() for p in torch.nn.TransformerEncoderLayer(64, 2, 128).parameters()) * 2 * 4 / 2**20
    assert tiny > weights > own


def test_only_what_is_new_is_encoded(result: dict[str, Any]) -> None:
    for backbone in result["backbones"].values():
        for entry in backbone["stages"]:
            assert (entry["encode_ms"] > 0) == (entry["path"] != HOT)


def test_loads_say_how_many_were_found_cached_and_none_fails(result: dict[str, Any]) -> None:
    for backbone in result["backbones"].values():
        loads = [*backbone["throughput"], *backbone["cache"].values()]
        assert [load["failed"] for load in loads] == [0] * len(loads)
        assert backbone["cache"]["cached"]["cached_share"] == pytest.approx(0.9, abs=0.03)
        assert backbone["cache"]["off"]["cached_share"] == 0


def test_the_wall_knows_the_rankers_process(result: dict[str, Any]) -> None:
    for backbone in result["backbones"].values():
        assert {TRITON, "segment_ranker"} <= set(backbone["wall"]["cpu_ms_per_request"])
        assert backbone["wall"]["one_interpreter_per_second"] > 0


def test_several_processes_of_the_ranker_have_every_segment_cached(result: dict[str, Any]) -> None:
    for backbone in result["backbones"].values():
        several = backbone["several"]
        assert several["rankers"] == TINY.rankers == 2
        assert {load["path"] for load in several["throughput"]} == {HOT}
        assert [load["failed"] for load in several["throughput"]] == [0] * len(TINY.loads.callers)
        assert [load["cached_share"] for load in several["throughput"]] == [1] * len(TINY.loads.callers)
        assert several["wall"]["cpu_ms_per_request"]["segment_ranker"] > 0


def test_a_cpu_is_not_held_to_the_targets_of_a_gpu(result: dict[str, Any]) -> None:
    assert {verdict["verdict"] for verdict in result["targets"]} == {"not measured"}


def arguments(**changes: Any) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    common = {"quick": True, "json": False, "seed": 0, "out": None, "plot": False}
    places = {"data": None, "work": Path("work"), "precision": "fp32", "model": None, "dim": 16}
    return argparse.Namespace(**vars(parser.parse_args([])) | common | places | changes)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_what_is_needed() -> None:
    with pytest.raises(ConfigError, match=r"no NVIDIA GPU: torch .* finds none"):
        command.run(arguments(device="cuda"))


def test_pictures_are_those_of_the_other_benchmark() -> None:
    with pytest.raises(ConfigError, match="without --device"):
        command.run(arguments(device="cpu", plot=True))


def test_on_a_gpu_both_sides_are_compiled_float16_and_every_size_is_measured() -> None:
    choice = command.choose(arguments(device="cuda"))
    assert choice.backbones == tuple(name for name in BACKBONES if name != "tiny")
    assert choice.placement == Placement("cuda", "float16", "inductor")
    assert command.choose(arguments(device="cuda", torch_compile="", backbone=["7b"])).placement.compiler == ""
    assert command.choose(arguments(device="cpu")).backbones == ("tiny",)


def test_on_a_gpu_the_ranker_has_the_encoder_and_nobody_else_takes_its_memory() -> None:
    placement = Placement("cuda:1", "float16", "inductor")
    models = placement.ranker() | placement.pairs(256)
    there = {"engine": "torch", "device": "cuda:1", "torch_dtype": "float16", "torch_compile": "inductor"}
    assert models["segment_ranker"] == there | {"encoder": "torch"}
    assert models["cross_encoder"] == there | {"pair_rows": "256"}
    assert models["segment_encoder"] == {"engine": "onnx", "device": "cpu"}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_as_large_as_their_names_say_and_can_be_packed(name: str) -> None:
    from transformers import AutoModel

    millions = {"tiny": (0.1, 0.2), "bert-base": (85, 110), "bert-large": (302, 340), "7b": (6_400, 6_800)}[name]
    config = SHAPES[name].config(vocabulary=30_522, positions=512)
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    embedding = model.get_input_embeddings().weight.numel()
    weights = (sum(parameter.numel() for parameter in model.parameters()) - embedding) / 1e6
    assert millions[0] <= weights <= millions[1]
    assert can_pack(torch.device("cuda"), torch.float16, config.hidden_size // config.num_attention_heads)


def test_the_plan_is_that_of_the_targets() -> None:
    assert FULL.sizes == [100, 1_000, 10_000]
    assert (FULL.context.segments, FULL.context.tokens) == (8, 64)
    new = sum(path == WARM for path in FULL.loads.contest_paths)
    assert new / (len(FULL.loads.contest_paths) * FULL.context.segments) == 0.1
    assert set(HEAVY) <= set(SHAPES)
    assert set(FULL.heavy) <= set(FULL.samples[CROSS])
    for plan in (FULL, QUICK):
        assert COMPARED in plan.sizes


def single(path: str, p50_ms: float) -> dict[str, Any]:
    return {"path": path, "candidates": 1_000, "p50_ms": p50_ms}


def test_verdicts_are_ratios_to_the_cross_encoder_of_the_same_backbone() -> None:
    measured = {
        "bert-base": {
            "single": [single(CROSS, 800.0), single(WARM, 4.0), single(COLD, 10.0)],
            "cache": {"cached": {"per_second": 600.0}, "off": {"per_second": 100.0}},
            "throughput": [{"path": HOT, "per_second": 900.0}, {"path": HOT, "per_second": 4_000.0}],
            "several": {"rankers": 4, "throughput": [{"path": HOT, "per_second": 4_500.0}]},
        },
        "7b": {"single": [single(WARM, 4.0)]},
    }
    found = {verdict["name"]: (verdict["value"], verdict["verdict"]) for verdict in verdicts(measured)}
    assert list(found.values()) == [
        (200, "met"),
        (80, "not met"),
        (None, "not measured"),
        (6, "met"),
        (4_500, "not met"),
    ]


def test_the_wall_is_the_rankers_processor_time() -> None:
    found = arithmetic({"segment_ranker": 2.0, TRITON: 1.0}, 1_000)
    assert found["cpu_ms_per_request"] == {"segment_ranker": 2.0, TRITON: 1.0}
    assert found["one_interpreter_per_second"] == 500.0
    assert arithmetic({TRITON: 1.0}, 10)["one_interpreter_per_second"] is None


def write(path: Path, rows: list[dict[str, str]]) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)


def test_a_catalogue_is_repeated_under_other_ids_until_it_is_large_enough(tmp_path: Path) -> None:
    events = tmp_path / "events.csv.gz"
    events.write_bytes(gzip.compress(b"user_id,item_id,timestamp,kind\n"))
    rows = [{"item_id": "a", "text": "red"}, {"item_id": "b", "text": " "}, {"item_id": "c", "text": "blue"}]
    write(tmp_path / "items.jsonl.gz", rows)
    dataset = Dataset.within(tmp_path, "shop")
    assert enlarged(dataset, 2, tmp_path / "more") is dataset
    for _ in range(2):  # what is there is written over
        found = enlarged(dataset, 5, tmp_path / "more")
        with gzip.open(found.items, "rt", encoding="utf-8") as lines:
            made = [json.loads(line) for line in lines]
        assert [row["item_id"] for row in made] == ["a", "c", "a~1", "c~1", "a~2"]
        assert [row["text"] for row in made] == ["red", "blue", "red", "blue", "red"]
        assert found.events.read_bytes() == events.read_bytes()
    write(dataset.items, rows[1:2])
    with pytest.raises(DataError, match=r"no item of .* has a text"):
        enlarged(dataset, 2, tmp_path / "more")
