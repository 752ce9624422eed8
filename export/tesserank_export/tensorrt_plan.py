"""A TensorRT plan of a graph (``plan_graph``), for this machine's GPU.

Written against the API of TensorRT 11.4, as its bindings document it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tesserank.artifact.layout import plan_file
from tesserank.encoding.providers import Profile
from tesserank.errors import ConfigError, InvalidArgumentError
from tesserank.protocol import SEGMENT_ENCODER

_IDS, _MASK = (tensor.name for tensor in SEGMENT_ENCODER.inputs)
_EMBEDDINGS = SEGMENT_ENCODER.outputs[0].name
_CAPABILITIES = {"bf16": ((8, 0), "Ampere"), "fp8": ((8, 9), "Ada, Hopper")}  # the first of each


@dataclass(frozen=True)
class Target:
    """What a plan is built by and for: it runs on no other."""

    version: str
    capability: tuple[int, int]
    gpu: str

    @property
    def file(self) -> str:
        """The plan's name in the artefact."""
        return plan_file(self.capability, self.version)


def find_tensorrt() -> tuple[ModuleType, Target]:
    """TensorRT, and what it builds for here. Raises ConfigError naming what is missing."""
    needs = "--engine tensorrt builds for the GPU that it runs on"
    try:
        import tensorrt
    except ImportError as error:  # also of a library that it is linked with
        raise ConfigError(f"{needs}, with TensorRT ({error}): pip install 'tesserank[tensorrt]'") from error
    if not torch.cuda.is_available():
        raise ConfigError(
            f"{needs}, and torch {torch.__version__} finds none here (nvidia-smi, torch.cuda.is_available()): export "
            "with --engine plain here, and with --engine tensorrt there"
        )
    target = Target(tensorrt.__version__, torch.cuda.get_device_capability(), torch.cuda.get_device_name())
    return tensorrt, target


def check_precision(precision: str, target: Target) -> None:
    """Raises ConfigError where the target's GPU has no products of that precision."""
    needed, name = _CAPABILITIES.get(precision, ((0, 0), ""))
    if target.capability < needed:
        first, found = (".".join(map(str, capability)) for capability in (needed, target.capability))
        raise ConfigError(
            f"{precision} needs a GPU of compute capability {first} ({name}) or higher, {target.gpu} has {found}: "
            "use --tensorrt-precision fp16"
        )


def build_plan(trt: Any, graph: Path, profiles: Sequence[Profile], timings: Path) -> bytes:
    """The serialised plan of a graph, with a profile for each of ``profiles``.

    ``timings`` is a file that keeps how fast kernels were found to be: it is read if it is there, and written. Raises
    ConfigError with what the parser or the builder says.
    """
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        problems = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise ConfigError(f"TensorRT {trt.__version__} cannot read {graph.name}: {problems}")
    config = builder.create_builder_config()
    for profile in profiles:
        shapes = builder.create_optimization_profile()
        for name in (_IDS, _MASK):
            shapes.set_shape(name, *zip(profile.rows, profile.lengths, strict=True))
        if config.add_optimization_profile(shapes) < 0:
            raise ConfigError(f"TensorRT {trt.__version__} refuses the profile {profile}")
    known = timings.read_bytes() if timings.is_file() else b""
    cache = config.create_timing_cache(known)
    config.set_timing_cache(cache, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ConfigError(f"TensorRT {trt.__version__} built no plan of {graph.name}: see what it logged above")
    timings.parent.mkdir(parents=True, exist_ok=True)
    timings.write_bytes(bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


class PlanEngine:
    """Runs a plan, for its parity report: ids and mask, int64 [rows, L] -> float32 [rows, L, d]."""

    def __init__(self, trt: Any, plan: bytes, profiles: Sequence[Profile], dim: int) -> None:
        self._profiles = profiles
        self._dim = dim
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise ConfigError(
                f"TensorRT {trt.__version__} cannot load the plan that it built: see what it logged above"
            )
        self._context = engine.create_execution_context()

    def __call__(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        rows, length = input_ids.shape
        tensors = {name: torch.from_numpy(array).cuda() for name, array in ((_IDS, input_ids), (_MASK, attention_mask))}
        tensors[_EMBEDDINGS] = torch.empty((rows, length, self._dim), dtype=torch.float32, device="cuda")
        stream = torch.cuda.current_stream()
        self._context.set_optimization_profile_async(self._profile(rows, length), stream.cuda_stream)
        for name, tensor in tensors.items():
            if name != _EMBEDDINGS:
                self._context.set_input_shape(name, tuple(tensor.shape))
            self._context.set_tensor_address(name, tensor.data_ptr())
        if not self._context.execute_async_v3(stream.cuda_stream):
            raise ConfigError(
                f"the plan does not run on {rows} rows of {length} tokens: see what TensorRT logged above"
            )
        vectors: NDArray[np.float32] = tensors[_EMBEDDINGS].cpu().numpy()
        return vectors

    def _profile(self, rows: int, length: int) -> int:
        for number, profile in enumerate(self._profiles):
            if profile.lengths[0] <= length <= profile.lengths[2] and rows <= profile.rows[2]:
                return number
        raise InvalidArgumentError(f"{rows} rows of {length} tokens: the plan has no profile for them")
