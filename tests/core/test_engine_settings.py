"""A model's parameters → how its encoder runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tesserank.artifact.layout import Layout
from tesserank.encoding import engine, engines
from tesserank.encoding.engine import OnnxEngine
from tesserank.encoding.engines import EngineSettings, open_engine
from tesserank.encoding.providers import AUTO, CPU, CUDA, PROVIDERS, TENSORRT, ProviderSettings
from tesserank.errors import ArtifactError, ConfigError
from tesserank.serving import backend
from tests.core.artifacts import make_artifact
from tests.core.tiny_graph import IDS, MASK, TABLE, write_graph


def reader(**parameters: str) -> Callable[[str, str], str]:
    return lambda name, default: parameters.get(name, default)


def read(**parameters: str) -> EngineSettings:
    return EngineSettings.read(reader(**parameters), threads=3)


def test_without_parameters_it_is_onnx_runtime_wherever_there_is_a_place() -> None:
    assert read() == EngineSettings(threads=3)


def test_every_parameter_is_heard() -> None:
    found = read(
        engine="torch",
        device="cuda:1",
        execution_provider="tensorrt",
        torch_dtype="float16",
        torch_compile="inductor",
        onnx_memory_mib="100",
        tensorrt_precision="bf16",
        tensorrt_cache="/somewhere",
        profile_lengths="34, 66",
        profile_rows="8,32",
    )
    onnx = ProviderSettings(TENSORRT, 1, 100, False, "bf16", Path("/somewhere"), (34, 66), (8, 32))
    assert found == EngineSettings("torch", "cuda:1", 3, "float16", "inductor", onnx)
    assert read(cuda_graphs="true", device="cuda").onnx.cuda_graphs


@pytest.mark.parametrize(
    ("device", "provider", "found"),
    [
        (AUTO, AUTO, AUTO),
        ("cpu", AUTO, CPU),
        ("cuda:2", AUTO, CUDA),
        ("cuda", "tensorrt", TENSORRT),
        (AUTO, "cuda", CUDA),
    ],
)
def test_the_device_restricts_the_provider(device: str, provider: str, found: str) -> None:
    assert read(device=device, execution_provider=provider).onnx.provider == found


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"engine": "jax"}, "engine must be one of onnx, torch, not 'jax'"),
        ({"device": "tpu"}, "device must be auto, cpu, cuda or cuda:N, not 'tpu'"),
        ({"device": "cuda:"}, "device must be auto, cpu, cuda or cuda:N, not 'cuda:'"),
        ({"device": "cpu:1"}, "device must be auto, cpu, cuda or cuda:N, not 'cpu:1'"),
        ({"device": "cpu", "execution_provider": "cuda"}, "execution_provider cuda on device cpu"),
        ({"cuda_graphs": "yes"}, "cuda_graphs must be true or false, not 'yes'"),
        ({"profile_rows": "64"}, "profile_rows must be 2 whole numbers, not '64'"),
        ({"profile_lengths": "18;34"}, "profile_lengths must be whole numbers, separated by commas, not '18;34'"),
        ({"onnx_memory_mib": "-1"}, "onnx_memory_mib must be a whole number, not '-1'"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_named(parameters: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(**parameters)


def model_arguments(kind: str, **parameters: str) -> dict[str, str]:
    table = {name: {"string_value": value} for name, value in parameters.items()}
    config = json.dumps({"parameters": table})
    return {"model_config": config, "model_instance_kind": kind, "model_instance_device_id": "3"}


def test_an_instance_of_a_gpu_runs_on_its_gpu() -> None:
    assert backend.engine_settings(model_arguments("GPU")).device == "cuda:3"
    assert backend.engine_settings(model_arguments("GPU", device="cuda:1")).device == "cuda:1"
    assert backend.engine_settings(model_arguments("CPU", encoder_threads="5")) == EngineSettings(threads=5)


@pytest.fixture
def artifact(tmp_path: Path) -> Layout:
    layout = make_artifact(tmp_path / "artifact")
    write_graph(layout.encoder("fp32"))
    write_graph(layout.encoder("int8"))
    return layout


def test_an_export_is_served_as_its_precision_demands(artifact: Layout) -> None:
    on_cpu = EngineSettings(onnx=ProviderSettings(CPU))
    whole = TABLE[IDS] - 9 * MASK[:, :, None]
    np.testing.assert_array_equal(open_engine(artifact.root, "fp32", on_cpu)(IDS, MASK), whole)
    alone = (TABLE[IDS] - np.array([2, 9])[:, None, None]) * MASK[:, :, None]
    np.testing.assert_array_equal(open_engine(artifact.root, "int8", on_cpu)(IDS, MASK), alone)


def with_providers(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(engine.ort, "get_available_providers", lambda: [PROVIDERS[name] for name in names])


def test_int8_stays_on_the_cpu(artifact: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    with_providers(monkeypatch, CUDA, CPU)
    assert isinstance(open_engine(artifact.root, "int8", EngineSettings()), OnnxEngine)
    with pytest.raises(ConfigError, match="execution_provider cuda and an export of precision int8"):
        open_engine(artifact.root, "int8", EngineSettings(onnx=ProviderSettings(CUDA)))


def test_tensorrt_without_its_graph_names_the_option(artifact: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    with_providers(monkeypatch, TENSORRT, CUDA, CPU)
    with pytest.raises(ArtifactError, match=r"model\.plain\.onnx: export the encoder anew with --engine plain"):
        open_engine(artifact.root, "fp32", EngineSettings(onnx=ProviderSettings(TENSORRT)))


@pytest.mark.filterwarnings("ignore:Specified provider")  # ONNX Runtime's, on its way to leaving it out
def test_a_gpu_that_cannot_be_loaded_is_an_error_and_not_a_slow_answer(
    artifact: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_providers(monkeypatch, CUDA, CPU)
    with pytest.raises((ConfigError, ArtifactError), match=r"cuda could not be loaded|CUDAExecutionProvider"):
        open_engine(artifact.root, "fp32", EngineSettings(onnx=ProviderSettings(CUDA)))


def test_torch_that_is_not_installed_names_the_extra(artifact: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tesserank.encoding.pytorch.engine", None)
    with pytest.raises(ConfigError, match=r"engine torch needs .*: pip install 'tesserank\[torch\]'"):
        open_engine(artifact.root, "fp32", EngineSettings(engine="torch"))


def test_an_export_without_torch_names_the_option(artifact: Layout) -> None:
    with pytest.raises(ArtifactError, match="exported without the engine torch; export it anew with --engine torch"):
        open_engine(artifact.root, "fp32", EngineSettings(engine="torch", device="cpu"))


def test_settings_alone_load_neither_onnx_runtime_nor_torch() -> None:
    unwanted = "{'onnxruntime', 'torch'} & set(sys.modules)"
    code = f"import sys; import {engines.__name__}, {backend.__name__}; assert not {unwanted}"
    subprocess.run([sys.executable, "-c", code], check=True)
