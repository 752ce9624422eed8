"""Publishing moves one pointer, and assembling replaces one directory: neither ever shows half of anything."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tesserank.artifact.assemble import PARTS_OF_MODEL, assemble
from tesserank.artifact.layout import PARTS, PRECISIONS, Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.artifact.store import current_artifact, publish
from tesserank.errors import ArtifactError
from tesserank.protocol import INTERFACES
from tests.core.artifacts import make_artifact, seal

TRACKED = Path(__file__).parents[2] / "model_repository"


def test_a_store_without_artefacts_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=f"no artefact at {tmp_path}: make one with make export"):
        current_artifact(tmp_path)


def test_publishing_makes_a_version_current(tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        make_artifact(tmp_path / version)
        publish(tmp_path, version)
        assert current_artifact(tmp_path) == tmp_path / version
    publish(tmp_path, "v1")
    assert current_artifact(tmp_path) == tmp_path / "v1", "rolling back is publishing again"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "v1", "v2"]


@pytest.mark.parametrize("missing", ["segments.toml", "encoder/model.int8.onnx", "tokenizer/template.json"])
def test_an_incomplete_version_is_not_published(missing: str, tmp_path: Path) -> None:
    make_artifact(tmp_path / "v1")
    publish(tmp_path, "v1")
    make_artifact(tmp_path / "v2")
    (tmp_path / "v2" / missing).unlink()
    with pytest.raises(ArtifactError, match=r"artefact v2 .* is incomplete, so current stays as it is"):
        publish(tmp_path, "v2")
    assert current_artifact(tmp_path) == tmp_path / "v1"


def test_a_reader_finds_a_current_version_at_every_moment(tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        make_artifact(tmp_path / version)
    publish(tmp_path, "v1")
    over = threading.Event()
    seen: list[str] = []

    def read() -> None:
        while not over.is_set():
            try:
                seen.append(current_artifact(tmp_path).name)
            except ArtifactError:
                seen.append("none")

    reader = threading.Thread(target=read)
    reader.start()
    turns = 0
    # On busy cores the reader may sleep through many turns.
    while turns < 200 or (len(set(seen)) < 2 and turns < 100_000):
        publish(tmp_path, f"v{turns % 2 + 1}")
        turns += 1
    over.set()
    reader.join()
    assert set(seen) == {"v1", "v2"}


def test_every_model_is_assembled_with_the_parts_it_needs(tmp_path: Path) -> None:
    layout = make_artifact(tmp_path / "artifact")
    assemble(TRACKED, layout.root, tmp_path / "build" / "repository")
    repository = tmp_path / "build" / "repository"
    assert {path.name for path in repository.iterdir()} == set(PARTS_OF_MODEL) == {i.model for i in INTERFACES}
    for model, parts in PARTS_OF_MODEL.items():
        assert (repository / model / "config.pbtxt").read_text() == (TRACKED / model / "config.pbtxt").read_text()
        assert (repository / model / "1").is_dir(), "Triton wants a version directory, even if it is empty"
        beside_code = repository / model / "1" / "artifact"
        if parts:
            load_manifest(beside_code, parts)
            assert {path.name for path in beside_code.iterdir()} == {"manifest.json", "segments.toml", *parts}
        else:
            assert not beside_code.exists()
    graph = repository / "segment_encoder" / "1" / "model.onnx"
    assert graph.samefile(layout.encoder("fp32")), "the manifest's precision, as a hard link"
    assert not list(repository.rglob("__pycache__"))


def test_an_int8_graph_is_not_offered_to_backends_that_would_run_its_rows_together(tmp_path: Path) -> None:
    layout = make_artifact(tmp_path / "artifact")
    seal(layout, precision="int8")
    assemble(TRACKED, layout.root, tmp_path / "repository")
    assert not (tmp_path / "repository" / "segment_encoder" / "1" / "model.onnx").exists()


def test_a_corrupt_artefact_leaves_the_old_repository(tmp_path: Path) -> None:
    target = tmp_path / "repository"
    assemble(TRACKED, make_artifact(tmp_path / "sound", graph=b"first").root, target)
    broken = make_artifact(tmp_path / "broken", graph=b"second")
    broken.encoder("fp32").write_bytes(b"SECONDfp32")
    with pytest.raises(ArtifactError, match="SHA-256"):
        assemble(TRACKED, broken.root, target)
    assert (target / "segment_encoder" / "1" / "model.onnx").read_bytes() == b"firstfp32"
    seal(broken)
    assemble(TRACKED, broken.root, target)
    assert (target / "segment_encoder" / "1" / "model.onnx").read_bytes() == b"SECONDfp32"


def test_a_directory_that_is_no_model_repository_leaves_the_old_one(tmp_path: Path) -> None:
    target, layout = tmp_path / "repository", make_artifact(tmp_path / "artifact")
    assemble(TRACKED, layout.root, target)
    with pytest.raises(ArtifactError, match=r"holds no config\.pbtxt: is .* the model repository\?"):
        assemble(tmp_path, layout.root, target)
    assert (target / "recommend" / "config.pbtxt").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artifact", "repository"]


def test_a_layout_spells_every_path_below_its_root() -> None:
    layout = Layout(Path("root"))
    paths = [layout.manifest, layout.segments, layout.parity, layout.tokenizer, layout.template, layout.encoder_meta]
    paths += [layout.encoder(p) for p in PRECISIONS] + [layout.cross_encoder(p) for p in PRECISIONS] + [layout.index]
    assert len(set(paths)) == len(paths)
    assert all(path.is_relative_to("root") for path in paths)
    assert set(PARTS) <= {path.relative_to("root").parts[0] for path in paths}
