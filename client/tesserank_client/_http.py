"""HTTP, synchronous. tritonclient's HTTP client waits in gevent, so gevent's timer is the total deadline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tesserank_client._config import Timeout
from tesserank_client._errors import ConnectTimeoutError, DeadlinePassedError, translated
from tesserank_client._result import Answer
from tesserank_client._tensors import Call
from tesserank_client._transport import inference_arguments, read_outputs


class HttpTransport:
    """See ``Transport``. One connection; not to be shared between threads, which gevent does not allow."""

    def __init__(self, url: str, timeout: Timeout) -> None:
        self._url = url
        self._connect = timeout.connect
        self._where = f"http://{url}"
        with translated(self._where, timeout.total):
            self._triton = self._open()

    def infer(self, call: Call, timeout: float) -> Answer:
        with translated(self._where, timeout), self._deadline(timeout):
            arguments = inference_arguments(triton, call, timeout)
            return read_outputs(self._triton.infer(**arguments), call)

    def is_ready(self, model: str, timeout: float) -> bool:
        with translated(self._where, timeout), self._deadline(timeout):
            return bool(self._triton.is_model_ready(model))

    def close(self) -> None:
        self._triton.close()

    def _open(self) -> Any:
        # No timeout for single reads and writes: they are not the deadline of a call, the timer below is.
        return triton.InferenceServerClient(self._url, connection_timeout=self._connect, network_timeout=None)

    @contextmanager
    def _deadline(self, seconds: float) -> Iterator[None]:
        try:
            with gevent.Timeout(seconds, DeadlinePassedError()):
                yield
        except InferenceServerException:
            raise  # an answer: the connection is sound
        except TimeoutError as error:
            self._reconnect()
            raise ConnectTimeoutError(f"not connected within {self._connect} s") from error
        except BaseException:
            self._reconnect()
            raise

    def _reconnect(self) -> None:
        # The pool does not take back the slot of a connection that was interrupted, and its one slot is all we have.
        self._triton.close()
        self._triton = self._open()
