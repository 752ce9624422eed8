"""``tesserank export`` as it is typed: the three formats, quiet where it succeeds, one line where it cannot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tesserank.artifact.layout import PARTS, Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.artifact.store import current_artifact
from tesserank.cli import main
from tesserank.index import load_index
from tests.export.tiny import ITEMS, debris, write_events, write_items

SMALL = ("--dim", "16", "--collaborative-dim", "8")


def arguments(root: Path, bert: Path, catalog: Path, *more: str) -> list[str]:
    places = ["--artifacts", str(root / "artifacts"), "--model-repository", str(root / "build" / "repository")]
    return ["export", "--model", str(bert), "--catalog", str(catalog), *places, *SMALL, *more]


@pytest.fixture(scope="module")
def typed(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A whole export in a process of its own: where, and what it printed."""
    root = tmp_path_factory.mktemp("typed")
    catalog, events = write_items(root / "items.jsonl"), write_events(root / "events.csv")
    command = [sys.executable, "-m", "tesserank", *arguments(root, bert, catalog, "--events", str(events))]
    return root, subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def failure_of(root: Path, bert: Path, catalog: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """The one line that a failing export says last, nothing having been written."""
    capsys.readouterr()
    assert main(arguments(root, bert, catalog, *more)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    return lines[-1]


def test_an_export_ends_with_an_artefact_and_a_model_repository(
    typed: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    root, done = typed
    assert done.returncode == 0, done.stderr
    artifact = current_artifact(root / "artifacts" / "default")
    load_manifest(artifact, PARTS)
    for model in ("segment_encoder", "segment_embedder", "segmented_maxsim", "recommend", "cross_encoder"):
        assert (root / "build" / "repository" / model / "config.pbtxt").is_file()
    assert (root / "build" / "repository" / "segment_encoder" / "1" / "model.onnx").is_file()
    assert str(artifact.name) in done.stderr.splitlines()[-1]
    assert debris(root) == []


def test_an_export_prints_its_own_progress_and_no_library_s(
    typed: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    _, done = typed
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert [line for line in lines if not line.startswith("  ")] == []
    for noise in ("Loading weights", "WARNING", "Warning", "pre-processing", "%|"):
        assert noise not in done.stderr


@pytest.mark.parametrize("name", ["items.csv", "items.parquet"])
def test_every_format_gives_the_same_index(
    name: str, typed: tuple[Path, subprocess.CompletedProcess[str]], bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, _ = typed
    events = str(root / "events.csv")
    first = current_artifact(root / "artifacts" / "default")
    assert main(arguments(root, bert, write_items(root / name), "--events", events, "--name", name)) == 0
    second = current_artifact(root / "artifacts" / name)
    assert second.name == first.name
    before, after = (load_index(Layout(artifact).index) for artifact in (first, second))
    assert after.item_ids == before.item_ids == tuple(item_id for item_id, _ in ITEMS)
    for space in ("text", "collaborative"):
        found, expected = (index.spaces[space].items.decode().vectors for index in (after, before))
        np.testing.assert_array_equal(found, expected)
    assert "..." not in capsys.readouterr().err


BAD_FLAGS = {
    "dim": (("--dim", "0"), "--dim must be at least 1, not 0"),
    "collaborative dim": (("--collaborative-dim", "-4"), "--collaborative-dim must be at least 1, not -4"),
    "threads": (("--threads", "0"), "--threads must be at least 1, not 0"),
    "seed": (("--seed", "99999999999"), "--seed must be at most 4294967295, not 99999999999"),
    "name": (("--name", "../elsewhere"), "--name '../elsewhere': a folder's name is needed"),
    "hidden name": (("--name", ".work"), "--name '.work': a folder's name is needed"),
    "tolerance's name": (("--tolerance", "fp64.max_error=1"), "known are fp32.max_error, fp32.mean_cosine"),
    "tolerance's value": (("--tolerance", "fp32.max_error=much"), "'much' is not a number"),
    "NaN as a tolerance": (("--tolerance", "fp32.max_error=nan"), "'nan' is not a number"),
    "segments": (("--segments", "/nowhere.toml"), "segments file /nowhere.toml cannot be read"),
    "model": (("--model", "./nowhere"), "there is no directory ./nowhere: --model takes"),
    "text field": (("--text-field", "title"), "--text-field"),
    "id field": (("--id-field", "asin"), "--id-field"),
    "events": (("--events", "/nowhere.csv"), "/nowhere.csv"),
}


@pytest.mark.parametrize(("flags", "message"), BAD_FLAGS.values(), ids=BAD_FLAGS.keys())
def test_a_bad_flag_is_one_line_that_names_the_fix_and_nothing_is_written(
    flags: tuple[str, ...], message: str, bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = write_items(tmp_path / "items.jsonl")
    assert message in failure_of(tmp_path, bert, catalog, capsys, *flags)
    assert list(tmp_path.iterdir()) == [catalog]


@pytest.mark.parametrize("flags", [["--precision", "int4"], ["--unknown-items", "keep"], ["--dim", "many"], ["--what"]])
def test_a_flag_that_cannot_be_parsed_is_a_usage_error(
    flags: list[str], bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments(tmp_path, bert, tmp_path / "items.jsonl", *flags))
    assert stopped.value.code == 2
    assert flags[0] in capsys.readouterr().err.splitlines()[-1]


def test_a_bad_catalogue_is_one_line_and_nothing_is_written(
    bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = write_items(tmp_path / "items.jsonl", [*ITEMS, ITEMS[5]])
    assert "item id 'item5' on line 6 and line 41" in failure_of(tmp_path, bert, catalog, capsys)
    assert list(tmp_path.iterdir()) == [catalog]


def test_a_tolerance_can_be_given_by_flag_and_a_failure_says_which(
    typed: tuple[Path, subprocess.CompletedProcess[str]], bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, _ = typed
    catalog = root / "items.jsonl"
    strict = ("--name", "strict", "--tolerance", "fp32.max_error=1e-12")
    assert "--tolerance fp32.max_error=" in failure_of(root, bert, catalog, capsys, *strict)
    assert not (root / "artifacts" / "strict").exists()
    assert main(arguments(root, bert, catalog, *strict, "--tolerance", "fp32.max_error=0.1")) == 0
    artifact = current_artifact(root / "artifacts" / "strict")
    assert load_manifest(artifact, PARTS).provenance["tolerances"]["fp32"]["max_error"] == 0.1
