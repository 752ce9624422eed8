"""Encoder engines on a GPU beside the checkpoint in float32 on the CPU; none of it runs without one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tesserank_export", reason="a tiny model is exported")
pytest.importorskip("sklearn", reason="exporting needs it")
pytest.importorskip("tomli_w", reason="exporting needs it")
pytest.importorskip("transformers", reason="the engine is made of it")
pytest.importorskip("onnxruntime", reason="exporting needs it")

import onnxruntime

from tesserank.artifact.layout import Layout
from tesserank.encoding.engine import Graph, OnnxEngine, open_onnx
from tesserank.encoding.providers import CUDA, PROVIDERS, TENSORRT, ProviderSettings
from tesserank.encoding.pytorch.engine import TorchEngine
from tesserank.errors import InvalidArgumentError
from tests.export.tiny import make_options, run_export, save_bert

pytestmark = pytest.mark.gpu

# Components of unit vectors; what half precision was seen to move them by on a CPU, four times.
ERRORS = {"float32": 1e-4, "float16": 0.004, "bfloat16": 0.04}
Rows = list[np.ndarray]


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    root = tmp_path_factory.mktemp("exported")
    model = save_bert(root / "tiny-bert", hidden_size=64, intermediate_size=128)  # heads of 16: flash attention's
    return Layout(run_export(make_options(root, model, engines=("torch", "plain")))[0])


@pytest.fixture(scope="module")
def on_cpu(layout: Layout) -> TorchEngine:
    return TorchEngine.open(layout, "cpu", "float32")


def rows_of(lengths: list[int], seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    return [rng.integers(5, 100, length) for length in lengths]


def assert_near(engine: TorchEngine, on_cpu: TorchEngine, rows: Rows, error: float) -> None:
    for found, wanted in zip(engine.encode_rows(rows), on_cpu.encode_rows(rows), strict=True):
        assert found.is_cuda
        np.testing.assert_allclose(found.cpu().numpy(), wanted.numpy(), atol=error)


@pytest.mark.parametrize("dtype", ERRORS)
def test_rows_are_encoded_as_on_the_cpu_captured_and_replayed(dtype: str, layout: Layout, on_cpu: TorchEngine) -> None:
    engine = TorchEngine.open(layout, "cuda", dtype)
    assert engine.packs == (dtype != "float32")
    for seed in range(3):
        for lengths in ([1], [34] * 5, [7, 66, 1, 30], [66] * 64):  # the last is too large for a graph
            assert_near(engine, on_cpu, rows_of(lengths, seed), ERRORS[dtype])


def test_warming_up_captures_every_common_shape(layout: Layout, on_cpu: TorchEngine) -> None:
    engine = TorchEngine.open(layout, "cuda", "float16")
    engine.warm_up()
    captured = len(engine._runner.graphs)
    for rows in (1, 3, 17, 64):
        assert_near(engine, on_cpu, rows_of([32] * rows), ERRORS["float16"])
    assert len(engine._runner.graphs) == captured


def test_a_compiled_model_says_the_same(layout: Layout, on_cpu: TorchEngine) -> None:
    engine = TorchEngine.open(layout, "cuda", "float16", compiler="inductor")
    for lengths in ([34] * 5, [7, 66, 1, 30]):
        assert_near(engine, on_cpu, rows_of(lengths), ERRORS["float16"])


def test_ids_that_are_unknown_do_not_break_what_comes_after(layout: Layout, on_cpu: TorchEngine) -> None:
    engine = TorchEngine.open(layout, "cuda", "float16")
    with pytest.raises(InvalidArgumentError, match="INPUT_IDS"):
        engine.encode_rows([np.array([5, 1_000_000])])
    assert_near(engine, on_cpu, rows_of([9]), ERRORS["float16"])


@pytest.mark.parametrize(
    ("provider", "settings"),
    [
        (CUDA, ProviderSettings(CUDA)),
        (CUDA, ProviderSettings(CUDA, cuda_graphs=True)),
        (TENSORRT, ProviderSettings(TENSORRT, precision="fp32", profile_lengths=(18, 34), profile_rows=(4, 8))),
    ],
    ids=["cuda", "cuda with graphs", "tensorrt"],
)
def test_onnx_runtime_says_the_same(
    provider: str, settings: ProviderSettings, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if PROVIDERS[provider] not in onnxruntime.get_available_providers():
        pytest.skip(f"this onnxruntime has no {PROVIDERS[provider]}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    graph = Graph(layout.encoder("fp32"), "fp32", plain=layout.plain_encoder, max_tokens=66)
    engine, on_cpu = open_onnx(graph, 2, settings), OnnxEngine(layout.encoder("fp32"), threads=2)
    for rows, length in ((1, 6), (5, 34), (8, 66), (5, 34)):
        ids, mask = (
            np.random.default_rng(rows).integers(5, 100, (rows, length)),
            np.ones((rows, length), dtype=np.int64),
        )
        mask[0, length // 2 :] = 0
        real = mask == 1
        # TF32 keeps ten bits of what is multiplied.
        np.testing.assert_allclose(engine(ids, mask)[real], on_cpu(ids, mask)[real], atol=5e-3)
