"""An artefact is served whole, unaltered and of parts that belong together, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tesserank.artifact.bundle import open_segments, open_template
from tesserank.artifact.layout import ENCODER_PART, INDEX_PART, PARTS, Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.errors import ArtifactError, ConfigError
from tesserank.files import read_json, write_json
from tesserank.index import load_index
from tests.core.artifacts import ARTIFACT_ID, make_artifact, seal
from tests.core.world import ENCODER_ID, TEMPLATE


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return make_artifact(tmp_path / "artifact")


def test_a_sound_artefact_loads(layout: Layout) -> None:
    manifest = load_manifest(layout.root, PARTS)
    assert (manifest.artifact_id, manifest.encoder_id, manifest.precision) == (ARTIFACT_ID, ENCODER_ID, "fp32")
    assert manifest.files["segments.toml"].bytes == layout.segments.stat().st_size
    assert "index/text/vectors.npy" in manifest.files
    assert layout.is_valid()


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (Path.unlink, f"is missing from artefact {ARTIFACT_ID}"),
    "longer": (grow, r"has [\d,]+ bytes, its manifest says [\d,]+"),
    "altered": (flip_byte, "has SHA-256 [0-9a-f]{12}, its manifest says [0-9a-f]{12}: it is corrupt"),
}
FILES = ["encoder/model.int8.onnx", "index/text/vectors.npy", "tokenizer/tokenizer.json", "segments.toml"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_file_that_is(kind: str, name: str, layout: Layout) -> None:
    damage, message = DAMAGE[kind]
    damage(layout.root / name)
    with pytest.raises(ArtifactError, match=f"{layout.root / name} {message}.*rebuild it with make export"):
        load_manifest(layout.root, PARTS)


def test_parts_that_are_not_asked_for_are_not_checked(layout: Layout) -> None:
    flip_byte(layout.encoder("int8"))
    load_manifest(layout.root, [INDEX_PART])
    with pytest.raises(ArtifactError):
        load_manifest(layout.root, [INDEX_PART, ENCODER_PART])


def test_a_part_that_no_manifest_lists_is_an_error(layout: Layout) -> None:
    with pytest.raises(ArtifactError, match=f"artefact {ARTIFACT_ID} has no part 'pictures'"):
        load_manifest(layout.root, ["pictures"])


def test_an_index_of_another_encoder_is_an_error_with_both_ids(tmp_path: Path) -> None:
    layout = make_artifact(tmp_path / "a", manifest_encoder="encoder-2", encoder="encoder-2")
    message = "index index-1 was built with encoder encoder-1, but this artefact's encoder is encoder-2"
    with pytest.raises(ArtifactError, match=message):
        load_manifest(layout.root, [INDEX_PART])
    load_manifest(layout.root, [ENCODER_PART])


def test_an_encoder_of_another_artefact_is_an_error_with_both_ids(tmp_path: Path) -> None:
    layout = make_artifact(tmp_path / "a", encoder="encoder-3")
    with pytest.raises(ArtifactError, match="encoder encoder-3 lies in an artefact of encoder encoder-1"):
        load_manifest(layout.root, [ENCODER_PART])


def test_a_manifest_of_another_format_is_an_error_with_both_numbers(layout: Layout) -> None:
    write_json(layout.manifest, read_json(layout.manifest) | {"format": 99})
    with pytest.raises(ArtifactError, match="has format 99, this tesserank reads 1: rebuild it"):
        load_manifest(layout.root, PARTS)


@pytest.mark.parametrize("value", [[], 7, {"format": 1}, {"format": 1, "files": 3}, {"format": 1, "files": {"a": {}}}])
def test_a_manifest_of_another_shape_is_an_error(value: object, layout: Layout) -> None:
    write_json(layout.manifest, value)
    with pytest.raises(ArtifactError, match=r"manifest\.json (is corrupt|has format)"):
        load_manifest(layout.root, PARTS)


def test_no_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"manifest\.json cannot be read"):
        load_manifest(tmp_path, PARTS)


def test_a_template_comes_back_from_disk(layout: Layout) -> None:
    assert open_template(layout.root) == TEMPLATE
    write_json(layout.template, {"prefix": [1]})
    with pytest.raises(ArtifactError, match=r"template\.json is corrupt \(KeyError"):
        open_template(layout.root)


def test_a_space_that_the_index_lacks_is_left_out_of_the_segments(layout: Layout) -> None:
    index = load_index(layout.index)
    assert open_segments(layout.root, index).spaces() == ("text", "collaborative")
    del index.spaces["collaborative"]  # type: ignore[attr-defined]
    assert open_segments(layout.root, index).spaces() == ("text",)


def test_an_index_without_text_is_an_error(layout: Layout) -> None:
    index = load_index(layout.index)
    del index.spaces["text"]  # type: ignore[attr-defined]
    with pytest.raises(ArtifactError, match="index index-1 has no text space"):
        open_segments(layout.root, index)


def test_a_segments_file_that_cannot_be_used_is_an_error_of_its_own(layout: Layout) -> None:
    layout.segments.write_text("[history]\ncut = 3\n")
    seal(layout)
    with pytest.raises(ConfigError, match=r"segments\.toml: history\.cut must be a str"):
        open_segments(layout.root, load_index(layout.index))
