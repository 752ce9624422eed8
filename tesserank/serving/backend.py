"""What the models of the repository share: the seam between Triton's Python backend and the request path.

Only ``model.py`` files call this, inside Triton's stub process, where ``triton_python_backend_utils`` exists.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tesserank.artifact.assemble import ARTIFACT
from tesserank.artifact.layout import MANIFEST
from tesserank.artifact.manifest import Manifest
from tesserank.errors import ArtifactError, ConfigError, RequestError
from tesserank.files import read_json
from tesserank.protocol import ErrorCode, Interface

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


def inputs_of(request: Any, interface: Interface) -> Arrays:
    """The arrays of a request by tensor name; an optional input that was not sent is absent."""
    import triton_python_backend_utils as pb_utils

    arrays = {}
    for tensor in interface.inputs:
        found = pb_utils.get_input_tensor_by_name(request, tensor.name)
        if found is not None:
            arrays[tensor.name] = found.as_numpy()
    return arrays


def response(arrays: Arrays) -> Any:
    """A response of these arrays."""
    import triton_python_backend_utils as pb_utils

    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in arrays.items()])


def failure(error: Exception) -> Any:
    """A response that carries an error: a client's mistake as one line, anything else with its traceback in the log."""
    import triton_python_backend_utils as pb_utils

    if isinstance(error, RequestError):
        wired = pb_utils.TritonError(error.wire(), pb_utils.TritonError.INVALID_ARG)
    else:
        pb_utils.Logger.log_error("".join(traceback.format_exception(error)))
        text = f"{ErrorCode.INTERNAL.value}: {type(error).__name__}: {error}"
        wired = pb_utils.TritonError(text, pb_utils.TritonError.INTERNAL)
    return pb_utils.InferenceResponse(error=wired)


def respond_each(requests: Sequence[Any], interface: Interface, answer: Callable[[Arrays], Arrays]) -> list[Any]:
    """Answer requests one by one; one that fails fails alone."""

    def answer_one(request: Any) -> Arrays:
        return answer(inputs_of(request, interface))

    return [respond(partial(answer_one, request)) for request in requests]


def respond(answer: Callable[[], Arrays]) -> Any:
    """The response of these arrays, or of the error that making them raised."""
    try:
        return response(answer())
    except Exception as error:  # whatever it is, this request's client must hear of it and no other's
        return failure(error)
