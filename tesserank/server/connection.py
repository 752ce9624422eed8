"""One view of a running Triton for the doctor, over gRPC or HTTP; tritonclient is imported only here, and late."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from tesserank.errors import ServerError

Tensors = dict[str, npt.NDArray[Any]]

_DATATYPES = {"int64": "INT64", "int32": "INT32", "float32": "FP32", "bool": "BOOL", "object": "BYTES"}
# What Triton says of a Python model whose process is gone; some requests fail with no message at all.
_DEAD_STUB = re.compile(r"Stub process '(?P<model>.+?)(?:_\d+)*' is not healthy")


class InferenceFailure(Exception):
    """A request to the server that failed: ``detail`` says how and ``remedy`` what to do."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(f"{detail}: {remedy}")
        self.detail = detail
        self.remedy = remedy


class Connection:
    """A client of the server at ``host:port`` (gRPC) or ``http://host:port``; each call waits ``timeout_s`` at most.

    All methods raise InferenceFailure when the server does not answer, or answers with an error.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        try:
            import tritonclient.grpc
            import tritonclient.http
        except ImportError as error:
            raise ServerError(f"{error}: pip install 'tesserank[serve]'") from error
        self._timeout_s = timeout_s
        self._module: Any
        if url.startswith("http://"):
            self._module, self._options = tritonclient.http, {}
            address = url.removeprefix("http://").rstrip("/")
            self._client: Any = tritonclient.http.InferenceServerClient(
                address, connection_timeout=timeout_s, network_timeout=timeout_s
            )
        else:
            self._module, self._options = tritonclient.grpc, {"client_timeout": timeout_s}
            self._client = tritonclient.grpc.InferenceServerClient(url)

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()  # an idle HTTP connection would hold up the server's shutdown

    def is_live(self) -> bool:
        """Whether the server says that it is live."""
        return bool(self._call("is_server_live"))

    def model_states(self) -> dict[str, str]:
        """The state of each model of the repository: READY, or another with its reason."""
        index = self._call("get_model_repository_index", **self._as_json())
        models: list[dict[str, str]] = index if isinstance(index, list) else index.get("models", [])
        return {m["name"]: " ".join(filter(None, (m.get("state", "not loaded"), m.get("reason", "")))) for m in models}

    def instances(self, model: str) -> int:
        """How many instances of a model there are; of a Python model, processes."""
        found = self._call("get_model_config", model, **self._as_json())
        groups = found.get("config", found).get("instance_group", [])
        return sum(group.get("count", 1) * max(1, len(group.get("gpus", []))) for group in groups) or 1

    def infer(self, model: str, inputs: Mapping[str, npt.NDArray[Any]]) -> Tensors:
        """One inference; returns all outputs by name."""
        tensors = []
        for name, array in inputs.items():
            tensor = self._module.InferInput(name, list(array.shape), _DATATYPES[array.dtype.name])
            tensor.set_data_from_numpy(array)
            tensors.append(tensor)
        result = self._call("infer", model, tensors)
        response = result.get_response()
        names = (
            [output["name"] for output in response["outputs"]]
            if isinstance(response, dict)
            else [output.name for output in response.outputs]
        )
        # as_numpy returns None for an output that came back without data.
        arrays = {name: result.as_numpy(name) for name in names}
        return {name: np.empty(0) if array is None else array for name, array in arrays.items()}

    def _as_json(self) -> dict[str, bool]:
        return {"as_json": True} if self._options else {}  # the HTTP client knows nothing else

    def _call(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        from tritonclient.utils import InferenceServerException

        try:
            return getattr(self._client, method)(*arguments, **keywords, **self._options)
        except InferenceServerException as error:
            raise self._translate(str(error.status()), error.message() or "") from error
        except TimeoutError as error:
            raise self._timed_out() from error
        except OSError as error:
            raise InferenceFailure(f"the connection failed ({error})", "restart the server") from error

    def _translate(self, status: str, message: str) -> InferenceFailure:
        dead = _DEAD_STUB.search(message)
        if dead is not None or not message.strip():
            owner = f"the Python stub process of {dead['model']}" if dead else "its Python stub process"
            return InferenceFailure(f"{owner} is dead", "restart the server")
        if status.endswith("DEADLINE_EXCEEDED"):
            return self._timed_out()
        if status.endswith("UNAVAILABLE"):
            return InferenceFailure(message, "wait for the load to pass, or restart the server if there is none")
        return InferenceFailure(message.strip(), "read the server's log; make export rebuilds the models")

    def _timed_out(self) -> InferenceFailure:
        detail = f"no answer within {self._timeout_s:g} s"
        return InferenceFailure(detail, "allow more with --timeout, or restart the server if it stays silent")
