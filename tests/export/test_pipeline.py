"""The export from end to end: what it publishes, what it makes again, and what stays when it fails."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tesserank.artifact.bundle import open_segments, open_template
from tesserank.artifact.layout import PARITY, PARTS, Layout
from tesserank.artifact.manifest import Manifest, load_manifest
from tesserank.artifact.store import current_artifact
from tesserank.errors import ConfigError, DataError
from tesserank.files import read_json, sha256_file
from tesserank.index import load_index
from tesserank_export import steps, text_space
from tesserank_export.parity import TOLERANCES, AgreementError, MaxErrorError
from tests.export.conftest import Exported
from tests.export.tiny import (
    EMPTY_ROW,
    ITEMS,
    LONG_ROW,
    LONG_WORDS,
    debris,
    make_items,
    make_options,
    run_export,
    write_events,
    write_items,
)

ALL_STEPS = {
    *("tokenizer", "backbone", "projection", "encoder", "parity", "cross_encoder", "text", "token-weights", "index"),
}


@pytest.fixture
def root(exported: Exported, tmp_path: Path) -> Path:
    """A copy of a finished export, to run another in."""
    return Path(shutil.copytree(exported.root, tmp_path / "copy", symlinks=True))


def options_in(root: Path, bert: Path, **changes: Any) -> Any:
    return make_options(root, bert, **{"events": root / "events.csv"} | changes)


def assert_intact(artifact: Path) -> Manifest:
    return load_manifest(artifact, (*PARTS, PARITY))


def write_segments(root: Path, text: str) -> Path:
    path = root / "segments.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_manifest_lists_every_file_with_its_size_and_hash(exported: Exported) -> None:
    manifest = assert_intact(exported.artifact)
    lying = {str(path.relative_to(exported.artifact)): path for path in exported.artifact.rglob("*") if path.is_file()}
    assert set(manifest.files) == set(lying) - {"manifest.json"}
    for name, entry in manifest.files.items():
        assert (entry.bytes, entry.sha256) == (lying[name].stat().st_size, sha256_file(lying[name]))
    assert manifest.artifact_id == exported.artifact.name
    assert Layout(exported.artifact).is_valid()


def test_the_published_artefact_is_current_and_nothing_else_is_left(exported: Exported) -> None:
    store = exported.root / "artifacts" / "tiny"
    assert current_artifact(store) == exported.artifact
    assert {path.name for path in store.iterdir()} == {"current", exported.artifact.name}
    assert debris(exported.root) == []


def test_provenance_says_what_was_read_and_with_which_settings(exported: Exported) -> None:
    said = assert_intact(exported.artifact).provenance
    assert said["catalog"]["items"] == len(ITEMS)
    assert said["catalog"]["empty_texts"] == 1
    assert said["catalog"]["truncated_tokens"] >= LONG_WORDS - 32
    assert said["events"] == {"events": 360, "users": 60, "unknown_items": 0}
    assert said["settings"] == {"dim": 16, "collaborative_dim": 8, "engines": [], "seed": 0}
    assert said["tolerances"]["fp32"]["max_error"] == TOLERANCES["fp32"].max_error
    assert {"torch", "transformers", "onnxruntime", "numpy", "python"} <= set(said["versions"])


def test_texts_are_cut_at_the_token_limit_and_the_loss_is_said(exported: Exported) -> None:
    lengths = load_index(Layout(exported.artifact).index).tokens.lengths
    assert lengths[LONG_ROW] == lengths.max() == 32
    assert lengths[EMPTY_ROW] == 0
    assert "beyond items.token_limit = 32 left out" in exported.output


def test_a_second_run_makes_nothing_again(root: Path, bert: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file() and path.name != ".lock"}
    artifact, output = run_export(options_in(root, bert))
    assert "..." not in output
    assert output.count("kept from before") == len(ALL_STEPS | {"collaborative"})
    after = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file() and path.name != ".lock"}
    assert after == before
    assert current_artifact(root / "artifacts" / "tiny") == artifact


def test_equal_input_gives_an_equal_artefact_anywhere_and_after_any_refactoring(
    exported: Exported, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "code_digest", lambda: "other code that does the same")
    write_events(tmp_path / "events.csv")
    artifact, output = run_export(options_in(tmp_path, bert))
    assert "kept from before" not in output
    assert artifact.name == exported.artifact.name
    assert assert_intact(artifact).files == assert_intact(exported.artifact).files


@pytest.mark.parametrize("change", ["segments", "catalogue", "precision", "dim"])
def test_other_input_gives_another_artefact_beside_the_first(
    change: str, root: Path, bert: Path, exported: Exported
) -> None:
    changes: dict[str, Any] = {
        "segments": {"segments": write_segments(root, "[history]\nrecency = 0.5\n")},
        "catalogue": {"catalog": write_items(root / "other.jsonl", [*ITEMS, ("new", "a new brush")])},
        "precision": {"precision": "int8"},
        "dim": {"dim": 8},
    }[change]
    artifact, output = run_export(options_in(root, bert, **changes))
    assert artifact.name != exported.artifact.name
    assert "backbone → ONNX, fused: kept from before" in output
    store = root / "artifacts" / "tiny"
    assert current_artifact(store) == artifact
    assert_intact(artifact)
    assert_intact(store / exported.artifact.name)


def test_without_events_there_is_no_collaborative_space_and_the_artefact_still_opens(
    bert: Path, tmp_path: Path
) -> None:
    artifact, output = run_export(make_options(tmp_path, bert))
    assert "events: none given, so there is no collaborative space" in output
    index = load_index(Layout(artifact).index)
    assert list(index.spaces) == ["text"]
    config = open_segments(artifact, index)
    assert config.spaces() == ("text",)
    assert [channel.name for channel in config.channels()] == ["history/text", "query/text", "profile/text"]
    assert open_template(artifact).max_tokens == 66


def test_pooling_leaves_fewer_vectors_and_all_the_tokens(root: Path, bert: Path, exported: Exported) -> None:
    segments = write_segments(root, "[items]\npooling_factor = 2\n")
    pooled = load_index(Layout(run_export(options_in(root, bert, segments=segments))[0]).index)
    plain = load_index(Layout(exported.artifact).index)
    expected = np.maximum(-(-plain.tokens.lengths // 2), 1)
    np.testing.assert_array_equal(pooled.spaces["text"].items.lengths, expected)
    np.testing.assert_array_equal(pooled.tokens.lengths, plain.tokens.lengths)


@pytest.mark.parametrize(
    ("vectors", "kinds"),
    [
        ("int8", ["int8", "int16"]),
        ("int16", ["int16", "int16"]),
        ("float16", ["float16", "float16"]),
        ("compact", ["compact", "int16"]),
    ],
)
def test_vectors_are_stored_as_the_segments_file_says_and_the_loss_is_reported(
    vectors: str, kinds: list[str], root: Path, bert: Path
) -> None:
    segments = write_segments(root, f'[items]\nvectors = "{vectors}"\n')
    artifact, output = run_export(options_in(root, bert, segments=segments))
    spaces = load_index(Layout(artifact).index).spaces
    assert [spaces[name].items.kind for name in ("text", "collaborative")] == kinds
    found = read_json(Layout(artifact).parity)["index"]
    assert set(found) == set(spaces)
    if vectors == "float16":  # text vectors come from the encoder's shards as float16
        assert (found["text"]["max_error"], found["text"]["top10_agreement"]) == (0.0, 1.0)
    else:
        assert 0 < found["text"]["max_error"] < (0.15 if vectors == "compact" else 0.01)
    assert f"text as {kinds[0]}: max error" in output


def test_an_index_whose_answers_are_not_those_of_what_was_encoded_is_refused(
    root: Path, bert: Path, exported: Exported
) -> None:
    strict = TOLERANCES | {"index": replace(TOLERANCES["index"], top10_agreement=1.01)}
    with pytest.raises(AgreementError, match=r"space \w+ of the index: .* --tolerance index\.top10_agreement="):
        run_export(options_in(root, bert, tolerances=strict))
    assert assert_intact(current_artifact(root / "artifacts" / "tiny")).artifact_id == exported.artifact.name


def test_categories_reach_the_index(root: Path, bert: Path, exported: Exported) -> None:
    assert load_index(Layout(exported.artifact).index).categories is None
    rows = [{"item_id": item, "text": text, "shelf": f"s{len(text) % 3}"} for item, text in ITEMS]
    catalog = root / "shelves.jsonl"
    catalog.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    artifact, output = run_export(options_in(root, bert, catalog=catalog, category_field="shelf"))
    assert "3 categories" in output
    assert "encoder: fp32 and int8: kept from before" in output, "vectors do not depend on categories"
    categories = load_index(Layout(artifact).index).categories
    assert categories is not None
    assert [categories.names[code] for code in categories.codes] == [row["shelf"] for row in rows]
    assert artifact.name != exported.artifact.name


def test_a_catalogue_without_any_text_names_the_flag(bert: Path, tmp_path: Path) -> None:
    catalog = write_items(tmp_path / "empty.jsonl", [("a", ""), ("b", " ")])
    with pytest.raises(DataError, match=r"none of the 2 items of .* has a text: see --text-field"):
        run_export(make_options(tmp_path, bert, catalog=catalog))


def test_more_dimensions_than_the_model_has_are_refused(root: Path, bert: Path, exported: Exported) -> None:
    with pytest.raises(ConfigError, match="--dim 33 is above what can be fitted"):
        run_export(options_in(root, bert, dim=33))
    assert assert_intact(current_artifact(root / "artifacts" / "tiny")).artifact_id == exported.artifact.name


def test_failing_parity_leaves_the_old_artefact_current(root: Path, bert: Path, exported: Exported) -> None:
    strict = TOLERANCES | {"fp32": replace(TOLERANCES["fp32"], max_error=0.0)}
    catalog = write_items(root / "other.jsonl", make_items(30))
    with pytest.raises(MaxErrorError, match=r"--tolerance fp32\.max_error="):
        run_export(options_in(root, bert, catalog=catalog, tolerances=strict, events=None))
    store = root / "artifacts" / "tiny"
    assert assert_intact(current_artifact(store)).artifact_id == exported.artifact.name
    assert {path.name for path in store.iterdir()} == {"current", exported.artifact.name}
    assert debris(root) == []


def test_an_interrupted_run_leaves_the_old_artefact_and_the_next_goes_on_at_its_shard(
    root: Path, bert: Path, exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_space, "SHARD_ITEMS", 8)
    encode_shard, calls = text_space.encode_shard, []

    def interrupted(items: Any, *rest: Any) -> None:
        calls.append(len(items))
        if len(calls) == 3:
            raise KeyboardInterrupt
        encode_shard(items, *rest)

    options = options_in(root, bert, precision="int8")
    monkeypatch.setattr(text_space, "encode_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_export(options)
    store = root / "artifacts" / "tiny"
    assert assert_intact(current_artifact(store)).artifact_id == exported.artifact.name
    assert debris(root) == []

    artifact, output = run_export(options)
    assert calls == [8] * 6  # two shards of the first run, the one it was in, and three of the second
    assert [f"({n}/5): kept from before" in output for n in range(1, 6)] == [True, True, False, False, False]
    assert assert_intact(current_artifact(store)).artifact_id == artifact.name != exported.artifact.name


def test_shards_put_together_are_the_index_made_in_one_piece(
    root: Path, bert: Path, exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_space, "SHARD_ITEMS", 7)
    sharded = run_export(options_in(root, bert))[0]

    one, other = (load_index(Layout(artifact).index).spaces["text"].items for artifact in (sharded, exported.artifact))
    # An encoder rounds by the shape of its batch: by float16's last place, hence a step of int8 here and there.
    step = one.arrays()["scale"].max()
    np.testing.assert_allclose(one.decode().vectors, other.decode().vectors, atol=step + 2**-11)


def test_damage_to_a_published_artefact_is_repaired_by_exporting_again(
    root: Path, bert: Path, exported: Exported
) -> None:
    layout = Layout(root / "artifacts" / "tiny" / exported.artifact.name)
    for path in root.rglob("model.fp32.onnx"):  # the artefact's file is a hard link to the step's
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    artifact, output = run_export(options_in(root, bert))
    assert artifact == layout.root
    assert "encoder: fp32 and int8: what was kept is damaged, once more" in output
    assert read_json(layout.manifest)["files"] == read_json(Layout(exported.artifact).manifest)["files"]
    assert_intact(artifact)
