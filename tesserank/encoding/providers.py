"""Which execution provider of ONNX Runtime runs a graph, and with which options.

Nothing here imports ONNX Runtime: what it offers is passed in, so that every choice and every error can be tested where
there is no GPU. Options are those of its documentation: onnxruntime.ai/docs/execution-providers, CUDA and TensorRT.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tesserank.encoding.template import LENGTH_BUCKETS, row_bucket
from tesserank.errors import ConfigError
from tesserank.protocol import SEGMENT_ENCODER

AUTO, CPU, CUDA, TENSORRT = "auto", "cpu", "cuda", "tensorrt"
PROVIDERS = {CPU: "CPUExecutionProvider", CUDA: "CUDAExecutionProvider", TENSORRT: "TensorrtExecutionProvider"}
PRECISIONS = ("fp32", "fp16", "bf16")  # what TensorRT may compute in
Provider = tuple[str, dict[str, str]]


@dataclass(frozen=True)
class Profile:
    """Shapes that TensorRT prepares for: ``rows`` and ``lengths``, each (fewest, what it is tuned for, most)."""

    rows: tuple[int, int, int]
    lengths: tuple[int, int, int]

    def shapes(self, which: int) -> str:
        """The shape of every input at the fewest (0), what is tuned for (1), the most (2); as TensorRT's tools say."""
        return ",".join(f"{tensor.name}:{self.rows[which]}x{self.lengths[which]}" for tensor in SEGMENT_ENCODER.inputs)


def profiles(longest: Sequence[int], rows: tuple[int, int], max_tokens: int) -> list[Profile]:
    """One profile up to each of the lengths ``longest``, ascending, and up to the encoder's own ``max_tokens``.

    ``rows``: what is tuned for, and the most. A profile begins at the length bucket behind the one before, and is tuned
    for its longest. Raises ConfigError for lengths that are no buckets.
    """
    inside = [length for length in longest if length < max_tokens]
    if unknown := sorted(set(inside) - set(LENGTH_BUCKETS)):
        buckets = ", ".join(map(str, LENGTH_BUCKETS))
        raise ConfigError(f"profile_lengths {unknown} are none of the length buckets {buckets}")
    ends = [*sorted(set(inside)), max_tokens]
    begins = [1, *(end + 1 for end in ends[:-1])]
    return [Profile((1, *rows), (begin, end, end)) for begin, end in zip(begins, ends, strict=True)]


@dataclass(frozen=True)
class ProviderSettings:
    """``provider``: auto, cpu, cuda or tensorrt. ``memory_mib``: of CUDA's arena, 0 for no limit.

    Of TensorRT alone: ``precision``, ``cache`` (engines and timings are kept there), ``profile_lengths`` and
    ``profile_rows``, as ``profiles`` takes them.
    """

    provider: str = AUTO
    device_id: int = 0
    memory_mib: int = 0
    cuda_graphs: bool = False
    precision: str = "fp16"
    cache: Path | None = None
    profile_lengths: tuple[int, ...] = (18, 34, 66, 130, 258)
    profile_rows: tuple[int, int] = (16, 64)

    def __post_init__(self) -> None:
        """Raises ConfigError that names the parameter."""
        if self.provider not in (AUTO, *PROVIDERS):
            raise ConfigError(f"execution_provider must be auto, {', '.join(PROVIDERS)}, not {self.provider!r}")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"tensorrt_precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}")
        tuned, most = self.profile_rows
        if not 1 <= tuned <= most or most != row_bucket(most):
            raise ConfigError(
                f"profile_rows must be two numbers, the second a power of two, at least the first, not {tuned},{most}"
            )
        if self.cuda_graphs and self.provider in (CPU, TENSORRT):
            raise ConfigError(
                f"cuda_graphs with execution_provider {self.provider}: only cuda keeps a graph for each shape"
            )

    def choose(self, available: Sequence[str], version: str) -> str:
        """CPU, CUDA or TENSORRT, of those that an ONNX Runtime of ``version`` offers.

        Raises ConfigError naming what to install if the one that was asked for is not among them.
        """
        if self.provider == AUTO:
            return CUDA if PROVIDERS[CUDA] in available else CPU
        if PROVIDERS[self.provider] not in available:
            raise ConfigError(
                f"execution_provider {self.provider}: onnxruntime {version} offers {', '.join(available)}. "
                "Uninstall onnxruntime and pip install 'tesserank[gpu]' (onnxruntime-gpu)"
            )
        return self.provider

    def options(self, chosen: str, profile: Profile | None = None, stream: int = 0) -> list[Provider]:
        """Providers in order, each with its options, for ``onnxruntime.InferenceSession``.

        ``stream``: a CUDA stream to run on, so that who reads the output on it need not wait; 0 for one of its own.
        """
        if chosen == CPU:
            return [(PROVIDERS[CPU], {})]
        own = {"device_id": str(self.device_id)}
        if stream:
            own["user_compute_stream"] = str(stream)
        cuda = (PROVIDERS[CUDA], own | self._cuda_options())
        if chosen == CUDA:
            return [cuda]
        return [(PROVIDERS[TENSORRT], own | self._tensorrt_options(profile)), cuda]

    def _cuda_options(self) -> dict[str, str]:
        options = {"arena_extend_strategy": "kSameAsRequested"}
        if self.memory_mib:
            options["gpu_mem_limit"] = str(self.memory_mib << 20)
        if self.cuda_graphs:
            options["enable_cuda_graph"] = "1"
        return options

    def _tensorrt_options(self, profile: Profile | None) -> dict[str, str]:
        cache = self.cache or default_cache()
        options = {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(cache / "engines"),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(cache / "timings"),
        }
        if self.precision != "fp32":
            options[f"trt_{self.precision}_enable"] = "1"
        if profile is not None:
            options |= {
                "trt_profile_min_shapes": profile.shapes(0),
                "trt_profile_opt_shapes": profile.shapes(1),
                "trt_profile_max_shapes": profile.shapes(2),
                # A session a profile, and each its engine.
                "trt_engine_cache_prefix": f"rows{profile.rows[2]}-tokens{profile.lengths[2]}",
            }
        return options


def default_cache() -> Path:
    """Where TensorRT's engines and timings are kept if nothing else is said: they take minutes to make."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "tesserank" / "tensorrt"


def check_loaded(chosen: str, running: Sequence[str]) -> None:
    """ONNX Runtime leaves out a provider whose libraries it cannot load, with a line in its log, and goes on slowly.

    ``running``: the session's providers. Raises ConfigError naming what is probably missing.
    """
    if PROVIDERS[chosen] not in running:
        missing = {CUDA: "the driver, CUDA or cuDNN", TENSORRT: "the driver, CUDA, cuDNN or TensorRT (libnvinfer)"}
        raise ConfigError(
            f"execution_provider {chosen} could not be loaded, only {', '.join(running)}: {missing[chosen]} is "
            "missing, or of another version than this onnxruntime-gpu was built for. Does nvidia-smi show the GPU?"
        )
