"""What the models of the repository share: the seam between Triton's Python backend and the request path.

Only ``model.py`` files call this, inside Triton's stub process, where ``triton_python_backend_utils`` exists.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.artifact.assemble import ARTIFACT
from tesserank.artifact.layout import ENCODER_PART, MANIFEST
from tesserank.artifact.manifest import Manifest, load_manifest
from tesserank.encoding.batch import EncoderRows
from tesserank.encoding.batching import EncoderCounts
from tesserank.encoding.cache import CacheCounters, SegmentCache
from tesserank.encoding.engines import TORCH, EngineSettings
from tesserank.encoding.providers import AUTO, CPU
from tesserank.errors import ArtifactError, ConfigError, OverloadedError, RequestError, TesserankError
from tesserank.files import read_json
from tesserank.protocol import SEGMENT_ENCODER, ErrorCode, Interface
from tesserank.serving import strings
from tesserank.serving.dispatch import Incoming
from tesserank.serving.ranker import SegmentRanker
from tesserank.serving.stages import StageClock

Arrays = dict[str, NDArray[Any]]


def artifact_directory(args: dict[str, str]) -> Path:
    """The parts beside a model's code, from the arguments of its ``initialize``."""
    return Path(args["model_repository"]) / args["model_version"] / ARTIFACT


def check_neighbours(args: dict[str, str], manifest: Manifest) -> None:
    """Check that the models beside this one serve its artefact: vectors of two encoders cannot be compared.

    Raises ArtifactError that names the model and both artefacts.
    """
    own = Path(args["model_repository"])
    for path in sorted(own.parent.glob(f"*/{args['model_version']}/{ARTIFACT}/{MANIFEST}")):
        found = read_json(path).get("artifact_id")
        if found != manifest.artifact_id:
            raise ArtifactError(
                f"{path.relative_to(own.parent).parts[0]} serves artefact {found}, but {own.name} serves "
                f"{manifest.artifact_id}: assemble the model repository anew with make export"
            )


def parameter(args: dict[str, str], name: str, default: str) -> str:
    """A parameter of the model's configuration; an environment variable ``TESSERANK_<NAME>`` overrides it."""
    override = os.environ.get(f"TESSERANK_{name.upper()}")
    if override is not None:
        return override
    configured: dict[str, dict[str, str]] = json.loads(args["model_config"])["parameters"]
    return configured.get(name, {}).get("string_value", default)


def int_parameter(args: dict[str, str], name: str, default: int, lowest: int = 1, highest: int = 1 << 20) -> int:
    """``parameter`` as a whole number. Raises ConfigError that names it if it is none, or out of range."""
    value = parameter(args, name, str(default))
    if not value.isdecimal() or not lowest <= int(value) <= highest:
        raise ConfigError(
            f"{name} (or TESSERANK_{name.upper()}) must be a whole number from {lowest} to {highest}, not {value!r}"
        )
    return int(value)


def device(args: dict[str, str], default: str = CPU) -> str:
    """The parameter ``device``; on an instance of a GPU, ``auto`` is that GPU."""
    value = parameter(args, "device", default)
    if value == AUTO and args.get("model_instance_kind") == "GPU":
        return f"cuda:{args['model_instance_device_id']}"
    return value


def engine_settings(args: dict[str, str], threads: int = 2) -> EngineSettings:
    """How a model's parameters want its encoder run. Raises ConfigError that names the parameter."""

    def read(name: str, default: str) -> str:
        return device(args, default) if name == "device" else parameter(args, name, default)

    return EngineSettings.read(read, int_parameter(args, "encoder_threads", threads))


@dataclass(frozen=True)
class OpenedRanker:
    """A ranker, and what there is to read of its cache and, where that is in its process, of its encoder."""

    ranker: SegmentRanker
    cache: Callable[[], CacheCounters]
    encoder: Callable[[], EncoderCounts] | None = None


def open_ranker(args: dict[str, str], root: Path, clock: StageClock) -> OpenedRanker:
    """The ranker that a model's parameters ask for: with the encoder in its own process, if ``encoder`` is ``torch``,
    else calling segment_encoder.

    Raises ConfigError that names a parameter, or ArtifactError.
    """
    host_bytes = int_parameter(args, "cache_mib", 256, lowest=0) << 20
    rows = encoder_rows(args)
    encoder = parameter(args, "encoder", SEGMENT_ENCODER.model)
    if encoder == TORCH:
        from tesserank.serving.device_embedder import open_device_ranker  # here: torch and transformers take seconds

        load_manifest(root, [ENCODER_PART])
        settings = replace(engine_settings(args), engine=TORCH)
        if settings.device == CPU:
            raise ConfigError("encoder torch in the ranker's own process is for GPUs: set device to cuda or cuda:N")
        device_bytes = int_parameter(args, "device_cache_mib", 1024, lowest=0) << 20
        opened = open_device_ranker(root, settings, device_bytes, host_bytes, rows.most, clock)
        return OpenedRanker(opened.ranker, opened.cache.counters, opened.engine.counts)
    if encoder != SEGMENT_ENCODER.model:
        raise ConfigError(f"encoder must be {SEGMENT_ENCODER.model} or {TORCH}, not {encoder!r}")
    cache = SegmentCache(host_bytes)
    threads = int_parameter(args, "maxsim_threads", 2)
    return OpenedRanker(
        SegmentRanker.open(root, cache, call_encoder, rows, threads, clock, device(args)), cache.counters
    )


def encoder_rows(args: dict[str, str]) -> EncoderRows:
    """What a call of segment_encoder may carry, from ``encoder_rows`` and ``encoder_lengths``. Raises ConfigError."""
    lengths = parameter(args, "encoder_lengths", "mixed")
    if lengths not in ("mixed", "bucket"):
        raise ConfigError(f"encoder_lengths (or TESSERANK_ENCODER_LENGTHS) must be mixed or bucket, not {lengths!r}")
    return EncoderRows(int_parameter(args, "encoder_rows", 64, highest=64), mixed_lengths=lengths == "mixed")


def prepare_process() -> None:
    """Settings of a model's process that keep its answers quick; to be called at the end of ``initialize``."""
    import triton_python_backend_utils as pb_utils

    strings.install(pb_utils)
    # What was loaded stays: the collector need not look through it again and again.
    gc.collect()
    gc.freeze()
    # A thread that wants the interpreter is let wait as long as this by another; the default is 5 ms, several answers.
    sys.setswitchinterval(0.0005)


def inputs_of(request: Any, interface: Interface, stays: str = "") -> Arrays:
    """The arrays of a request by tensor name; an optional input that was not sent is absent.

    An input that lies on a GPU comes to the host, but for the one that is named as it ``stays``: that is a tensor of
    torch there, by DLPack, which copies nothing.
    """
    names = {tensor.name for tensor in interface.inputs}
    return {
        tensor.name(): _array(tensor, tensor.name() == stays) for tensor in request.inputs() if tensor.name() in names
    }


def _array(tensor: Any, stays: bool) -> Any:
    if tensor.is_cpu():
        return tensor.as_numpy()
    import torch  # only where FORCE_CPU_ONLY_INPUT_TENSORS is "no", for a model that has it

    there = torch.from_dlpack(tensor.to_dlpack())
    return there if stays else there.cpu().numpy()


def call_encoder(input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
    """Call segment_encoder, which may run other callers' rows beside these. Raises TesserankError if it fails."""
    import triton_python_backend_utils as pb_utils

    ids, mask = (tensor.name for tensor in SEGMENT_ENCODER.inputs)
    embeddings = SEGMENT_ENCODER.outputs[0].name
    request = pb_utils.InferenceRequest(
        model_name=SEGMENT_ENCODER.model,
        requested_output_names=[embeddings],
        inputs=[pb_utils.Tensor(ids, input_ids), pb_utils.Tensor(mask, attention_mask)],
        preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU),
    )
    answer = request.exec()
    if answer.has_error():
        raise TesserankError(f"{SEGMENT_ENCODER.model}: {answer.error().message()}")
    found: NDArray[np.float32] = pb_utils.get_output_tensor_by_name(answer, embeddings).as_numpy()
    return found


def response(arrays: Arrays) -> Any:
    """A response of these arrays."""
    import triton_python_backend_utils as pb_utils

    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in arrays.items()])


def failure(error: Exception) -> Any:
    """A response that carries an error: a client's mistake as one line, anything else with its traceback in the log."""
    import triton_python_backend_utils as pb_utils

    if isinstance(error, RequestError):
        wired = pb_utils.TritonError(error.wire(), pb_utils.TritonError.INVALID_ARG)
    elif isinstance(error, OverloadedError):
        wired = pb_utils.TritonError(str(error), pb_utils.TritonError.UNAVAILABLE)
    else:
        pb_utils.Logger.log_error("".join(traceback.format_exception(error)))
        text = f"{ErrorCode.INTERNAL.value}: {type(error).__name__}: {error}"
        wired = pb_utils.TritonError(text, pb_utils.TritonError.INTERNAL)
    return pb_utils.InferenceResponse(error=wired)


def respond(answer: Callable[[], Arrays]) -> Any:
    """The response of these arrays, or of the error that making them raised."""
    try:
        return response(answer())
    except Exception as error:  # whatever it is, this request's client must hear of it and no other's
        return failure(error)


def respond_each(
    requests: Sequence[Any], interface: Interface, answer: Callable[[Arrays], Arrays], stays: str = ""
) -> list[Any]:
    """Answer requests one by one; one that fails fails alone. ``stays``: see ``inputs_of``."""

    def answer_one(request: Any) -> Arrays:
        return answer(inputs_of(request, interface, stays))

    return [respond(partial(answer_one, request)) for request in requests]


def incoming(request: Any, interface: Interface) -> Incoming:
    """A request that is answered by its own reply, from any thread; ``execute`` must return nothing then."""
    import triton_python_backend_utils as pb_utils

    sender = request.get_response_sender()

    def reply(answer: Arrays | Exception) -> None:
        made = failure(answer) if isinstance(answer, Exception) else response(answer)
        sender.send(made, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    return Incoming(inputs_of(request, interface), reply, timeout_s=request.timeout() / 1e6)
