"""Choosing and configuring execution providers, of ONNX Runtimes that this machine does not have."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesserank.encoding.providers import (
    AUTO,
    CPU,
    CUDA,
    PROVIDERS,
    TENSORRT,
    Profile,
    ProviderSettings,
    check_loaded,
    default_cache,
    profiles,
)
from tesserank.encoding.template import LENGTH_BUCKETS
from tesserank.errors import ConfigError

ONLY_CPU = [PROVIDERS[CPU]]
GPU = [PROVIDERS[TENSORRT], PROVIDERS[CUDA], PROVIDERS[CPU]]


@pytest.mark.parametrize(
    ("provider", "available", "chosen"),
    [
        (AUTO, ONLY_CPU, CPU),
        (AUTO, GPU, CUDA),  # TensorRT builds for minutes: only when it is asked for
        (CPU, GPU, CPU),
        (CUDA, GPU, CUDA),
        (TENSORRT, GPU, TENSORRT),
    ],
)
def test_the_provider_is_chosen_among_those_there_are(provider: str, available: list[str], chosen: str) -> None:
    assert ProviderSettings(provider).choose(available, "1.0") == chosen


@pytest.mark.parametrize("provider", [CUDA, TENSORRT])
def test_a_provider_that_is_not_there_names_what_to_install(provider: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"{provider}: onnxruntime 1\.32 offers CPUExec.*pip install 'tesserank\[gpu\]'"
    ):
        ProviderSettings(provider).choose(ONLY_CPU, "1.32")


def test_a_provider_that_was_left_out_silently_is_an_error() -> None:
    check_loaded(CUDA, [PROVIDERS[CUDA], PROVIDERS[CPU]])
    check_loaded(CPU, ONLY_CPU)
    with pytest.raises(
        ConfigError, match=r"cuda could not be loaded, only CPUExec.*: the driver, CUDA or cuDNN is missing"
    ):
        check_loaded(CUDA, ONLY_CPU)
    with pytest.raises(ConfigError, match=r"tensorrt could not be loaded, only CUDAExec.*libnvinfer"):
        check_loaded(TENSORRT, [PROVIDERS[CUDA], PROVIDERS[CPU]])


def test_the_cpu_has_no_options() -> None:
    assert ProviderSettings().options(CPU) == [("CPUExecutionProvider", {})]


def test_cuda_is_told_its_device_arena_graphs_and_stream() -> None:
    (plain,) = ProviderSettings(CUDA).options(CUDA)
    assert plain == ("CUDAExecutionProvider", {"device_id": "0", "arena_extend_strategy": "kSameAsRequested"})
    ((_, options),) = ProviderSettings(CUDA, 2, memory_mib=512, cuda_graphs=True).options(CUDA, stream=77)
    assert options == {
        "device_id": "2",
        "arena_extend_strategy": "kSameAsRequested",
        "gpu_mem_limit": str(512 << 20),
        "enable_cuda_graph": "1",
        "user_compute_stream": "77",
    }


def test_tensorrt_is_told_its_profile_precision_and_caches_and_falls_back_to_cuda(tmp_path: Path) -> None:
    profile = Profile((1, 16, 64), (19, 34, 34))
    found = ProviderSettings(TENSORRT, 1, cache=tmp_path).options(TENSORRT, profile)
    assert [name for name, _ in found] == [PROVIDERS[TENSORRT], PROVIDERS[CUDA]]
    assert found[0][1] == {
        "device_id": "1",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(tmp_path / "engines"),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(tmp_path / "timings"),
        "trt_fp16_enable": "1",
        "trt_profile_min_shapes": "INPUT_IDS:1x19,ATTENTION_MASK:1x19",
        "trt_profile_opt_shapes": "INPUT_IDS:16x34,ATTENTION_MASK:16x34",
        "trt_profile_max_shapes": "INPUT_IDS:64x34,ATTENTION_MASK:64x34",
        "trt_engine_cache_prefix": "rows64-tokens34",
    }
    assert found[1][1]["device_id"] == "1"


@pytest.mark.parametrize(
    ("precision", "flags"), [("fp32", set()), ("fp16", {"trt_fp16_enable"}), ("bf16", {"trt_bf16_enable"})]
)
def test_tensorrt_computes_in_what_it_is_told(precision: str, flags: set[str]) -> None:
    ((_, options), _) = ProviderSettings(TENSORRT, precision=precision).options(TENSORRT)
    assert {name for name in options if name.endswith("16_enable")} == flags


def test_without_a_cache_it_lies_where_caches_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "tesserank" / "tensorrt"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "tesserank" / "tensorrt"


@given(st.sets(st.sampled_from(LENGTH_BUCKETS)), st.integers(1, 512))
def test_every_length_has_one_profile(longest: set[int], max_tokens: int) -> None:
    found = profiles(sorted(longest), (16, 64), max_tokens)
    covered = [length for profile in found for length in range(profile.lengths[0], profile.lengths[2] + 1)]
    assert covered == list(range(1, max_tokens + 1))
    for profile in found:
        assert profile.rows == (1, 16, 64)
        assert profile.lengths[0] <= profile.lengths[1] <= profile.lengths[2]


def test_profiles_of_lengths_that_no_call_has_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"profile_lengths \[33\] are none of the length buckets 6, 8,"):
        profiles([18, 33], (16, 64), 512)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"provider": "rocm"}, "execution_provider must be auto, cpu, cuda, tensorrt, not 'rocm'"),
        ({"precision": "fp8"}, "tensorrt_precision must be one of fp32, fp16, bf16, not 'fp8'"),
        ({"profile_rows": (65, 64)}, "at least the first, not 65,64"),
        ({"profile_rows": (0, 64)}, "at least the first, not 0,64"),
        ({"profile_rows": (16, 40)}, "a power of two, at least the first, not 16,40"),
        ({"provider": TENSORRT, "cuda_graphs": True}, "cuda_graphs with execution_provider tensorrt"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ProviderSettings(**settings)  # type: ignore[arg-type]
