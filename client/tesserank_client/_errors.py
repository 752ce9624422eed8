"""The errors of the client, and the one place where errors of the layers below become them.

TesserankClientError
├── RequestRejectedError         this request cannot succeed as it is; sending it again will not help
│   ├── InvalidArgumentError     a value, type, shape or encoding that no request may have
│   ├── UnknownItemError         an id is not in the catalogue and unknown_items="reject"
│   ├── EmptyRequestError        no known history item and no text
│   ├── LimitExceededError       more than a limit of the server's
│   └── TopKTooLargeError        top_k above the number of candidates
├── TransportError               the connection broke, or what answered is not a Triton server
│   ├── ConnectError             no connection: nothing was sent
│   └── DeadlineExceededError    no answer within the timeout
├── ServerError                  the server answered that it cannot
│   ├── ModelUnavailableError    the model is not loaded or not ready, or its queue is full
│   └── InternalServerError      the server's own fault
└── ClientClosedError            a call after close()
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from tesserank_client._protocol import ErrorCode


class TesserankClientError(Exception):
    """Base of all errors that the client raises."""


class RequestRejectedError(TesserankClientError):
    """This request cannot succeed as it is; sending it again will not help."""


class InvalidArgumentError(RequestRejectedError):
    """A value, type, shape or encoding that no request may have."""


class UnknownItemError(RequestRejectedError):
    """An id is not in the catalogue, in a request with ``unknown_items="reject"``."""


class EmptyRequestError(RequestRejectedError):
    """No known history item and no text: nothing to rank by."""


class LimitExceededError(RequestRejectedError):
    """More users, segments, candidates, texts or bytes than the server allows."""


class TopKTooLargeError(RequestRejectedError):
    """``top_k`` above the number of candidates."""


class TransportError(TesserankClientError):
    """The connection broke, or what answered is not a Triton server."""


class ConnectError(TransportError):
    """No connection to the server: nothing was sent, so the request is safe to repeat."""


class DeadlineExceededError(TransportError):
    """No answer within the timeout."""


class ServerError(TesserankClientError):
    """The server answered that it cannot."""


class ModelUnavailableError(ServerError):
    """The model is not loaded or not ready, or its queue is full."""


class InternalServerError(ServerError):
    """The server's own fault."""


class ClientClosedError(TesserankClientError):
    """A call on a client after ``close()``."""


class DeadlinePassedError(Exception):
    """Raised by a transport whose library has no total deadline of its own; translated like the others."""


class ConnectTimeoutError(Exception):
    """Raised by a transport whose library does not tell a connection's timeout from an answer's."""


_BY_CODE: dict[ErrorCode, type[TesserankClientError]] = {
    ErrorCode.INVALID_ARGUMENT: InvalidArgumentError,
    ErrorCode.UNKNOWN_ITEM: UnknownItemError,
    ErrorCode.EMPTY_REQUEST: EmptyRequestError,
    ErrorCode.LIMIT_EXCEEDED: LimitExceededError,
    ErrorCode.TOP_K_TOO_LARGE: TopKTooLargeError,
    ErrorCode.INTERNAL: InternalServerError,
}
# Triton puts its own words before a model's message ("in ensemble 'recommend', Failed to process the request(s) for
# model 'segment_embedder_0_0', message: ValueError: ...") and a traceback after it.
_CODE = re.compile(rf"\b({'|'.join(code.value for code in ErrorCode)}): ")
_TRACEBACK = "\n\nAt:\n"

# One status, several meanings: gRPC says UNAVAILABLE for a refused connection, a broken one and a full queue.
_BY_STATUS_AND_TEXT: tuple[tuple[tuple[str, ...], str, type[TesserankClientError]], ...] = (
    (("UNAVAILABLE",), "failed to connect to all addresses", ConnectError),
    (("UNAVAILABLE",), "errors resolving", ConnectError),
    (("UNAVAILABLE",), "DNS resolution failed", ConnectError),
    (("UNAVAILABLE",), "Socket closed", TransportError),
    (("UNAVAILABLE",), "recvmsg:", TransportError),
    (("UNAVAILABLE",), "sendmsg:", TransportError),
    (("UNAVAILABLE",), "Connection reset", TransportError),
    (("UNAVAILABLE",), "GOAWAY", TransportError),
    (("UNAVAILABLE", "503"), "timeout expired", DeadlineExceededError),
    (("INVALID_ARGUMENT", "400"), "batch-size must be <=", LimitExceededError),
)
_BY_STATUS: dict[str, type[TesserankClientError]] = {
    "INVALID_ARGUMENT": InvalidArgumentError,
    "400": InvalidArgumentError,
    "PERMISSION_DENIED": RequestRejectedError,
    "UNAUTHENTICATED": RequestRejectedError,
    "401": RequestRejectedError,
    "403": RequestRejectedError,
    "RESOURCE_EXHAUSTED": LimitExceededError,
    "413": LimitExceededError,
    "CANCELLED": TransportError,
    "499": TransportError,
    "502": TransportError,
    "DEADLINE_EXCEEDED": DeadlineExceededError,
    "408": DeadlineExceededError,
    "504": DeadlineExceededError,
    "NOT_FOUND": ModelUnavailableError,
    "UNAVAILABLE": ModelUnavailableError,
    "404": ModelUnavailableError,
    "429": ModelUnavailableError,
    "503": ModelUnavailableError,
    "UNIMPLEMENTED": ServerError,
    "501": ServerError,
}
# By name, so that telling an aiohttp error does not import aiohttp into a gRPC client; the first class of the
# exception's method resolution order that is named here decides.
_BY_CLASS_NAME: dict[str, type[TesserankClientError]] = {
    "ConnectTimeoutError": ConnectError,
    "ConnectionTimeoutError": ConnectError,  # aiohttp: while connecting
    "ClientConnectorError": ConnectError,  # aiohttp: refused, unreachable, name not resolved
    "ConnectionRefusedError": ConnectError,
    "gaierror": ConnectError,
    "DeadlinePassedError": DeadlineExceededError,
    "TimeoutError": DeadlineExceededError,
}
_UNREACHABLE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.ECONNREFUSED})


def translate(error: BaseException, where: str = "the server", timeout: float | None = None) -> TesserankClientError:
    """The client's error for any error of a layer below (tritonclient, grpc, geventhttpclient, aiohttp, asyncio).

    Args:
        error: What was raised.
        where: The server, for the message, as ``grpc://127.0.0.1:8001``.
        timeout: The deadline of the call in seconds, for the message.
    """
    # Here and not above: it costs as much as all of this package, and whoever has an error to translate has paid it.
    from tritonclient.utils import InferenceServerException

    if isinstance(error, TesserankClientError):
        return error
    if isinstance(error, InferenceServerException):
        kind, text = _classify_answer(error.status(), error.message() or "")
    elif _is_grpc_answer(error):
        kind, text = _classify_answer(error.code().name, error.details() or "")  # type: ignore[attr-defined]
    else:
        kind, text = _classify_exception(error), f"{type(error).__name__} {error}".strip()
    if kind is DeadlineExceededError:
        return kind(f"no answer from {where} within {'the deadline' if timeout is None else f'{timeout:g} s'}: {text}")
    if issubclass(kind, TransportError):
        return kind(f"{'no connection to' if kind is ConnectError else 'lost'} {where}: {text}")
    return kind(text)


@contextmanager
def translated(where: str, timeout: float) -> Iterator[None]:
    """Raise what the block raises as the client's errors; an asyncio cancellation and Ctrl-C pass unchanged."""
    try:
        yield
    except Exception as error:
        translation = translate(error, where, timeout)
        if translation is error:
            raise
        raise translation from error


def _is_grpc_answer(error: BaseException) -> bool:
    """Whether it is gRPC's error for a call that ended with a status; told without importing grpc."""
    return any(base.__name__ == "RpcError" for base in type(error).__mro__) and hasattr(error, "code")


def _classify_answer(status: str | None, message: str) -> tuple[type[TesserankClientError], str]:
    if status is None:
        return InvalidArgumentError, message  # tritonclient refused it before sending
    status = status.removeprefix("StatusCode.")
    if found := _CODE.search(message):
        text = message[found.end() :].split(_TRACEBACK)[0].strip()
        return _BY_CODE[ErrorCode(found.group(1))], text
    for statuses, part, kind in _BY_STATUS_AND_TEXT:
        if status in statuses and part in message:
            return kind, message
    kind = _BY_STATUS.get(status, InternalServerError)
    if kind is InternalServerError and (not message or "Stub process" in message):
        message = f"{message or 'no message'} (a model's process has died: tesserank doctor tells which; restart it)"
    return kind, message or f"status {status} without a message"


def _classify_exception(error: BaseException) -> type[TesserankClientError]:
    for base in type(error).__mro__:
        if kind := _BY_CLASS_NAME.get(base.__name__):
            return kind
    if isinstance(error, OSError) and error.errno in _UNREACHABLE:
        return ConnectError
    return TransportError
