"""An export for other engines, from end to end: what lies in the artefact, what was compared, what is served of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tesserank.artifact.assemble import assemble
from tesserank.artifact.layout import ENCODER_PART, Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.encoding.engine import OnnxEngine
from tesserank.encoding.engines import EngineSettings, open_engine
from tesserank.files import read_json
from tesserank.paths import TRACKED_REPOSITORY
from tests.export.tiny import make_options, run_export


@pytest.fixture(scope="module")
def exported(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    root = tmp_path_factory.mktemp("engines")
    return run_export(make_options(root, bert, engines=("torch", "plain")))


def test_the_report_compares_every_engine(exported: tuple[Path, str]) -> None:
    artifact, output = exported
    report = read_json(Layout(artifact).parity)
    assert set(report) == {"fp32", "int8", "torch", "torch_bf16", "plain", "index"}
    assert report["torch"]["max_error"] < 1e-5
    assert report["plain"]["max_error"] < 1e-5
    assert 1e-4 < report["torch_bf16"]["max_error"] < 0.1
    assert "rows are packed" in output


def test_the_plain_graph_has_standard_operators_alone(exported: tuple[Path, str]) -> None:
    import onnx

    layout = Layout(exported[0])
    fused, plain = (onnx.load(path) for path in (layout.encoder("fp32"), layout.plain_encoder))
    assert {node.domain for node in plain.graph.node} <= {"", "ai.onnx"}
    assert {node.domain for node in fused.graph.node} > {""}


def test_what_is_served_of_it_agrees(exported: tuple[Path, str], tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    assemble(TRACKED_REPOSITORY, exported[0], repository)
    root = repository / "segment_encoder" / "1" / "artifact"
    manifest = load_manifest(root, [ENCODER_PART])
    rng = np.random.default_rng(0)
    ids, mask = rng.integers(5, 100, (3, 10)), np.ones((3, 10), dtype=np.int64)
    mask[1, 4:] = 0
    on_cpu = EngineSettings(device="cpu")
    onnx = open_engine(root, manifest.precision, on_cpu)
    assert isinstance(onnx, OnnxEngine)
    torch = open_engine(root, manifest.precision, EngineSettings("torch", "cpu"))
    np.testing.assert_allclose(torch(ids, mask)[mask == 1], onnx(ids, mask)[mask == 1], atol=1e-5)
