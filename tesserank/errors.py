"""The errors of tesserank.

TesserankError
├── RequestError            a request that can never succeed as it is; carries a protocol.ErrorCode
│   ├── InvalidArgumentError
│   ├── UnknownItemError
│   ├── EmptyRequestError
│   ├── LimitExceededError
│   └── TopKTooLargeError
├── OverloadedError         a request that comes when too many wait, or that has waited too long
├── DataError               a catalogue or an event log that cannot be used
├── ConfigError             a segments file, a limit or an option that cannot be used
├── ArtifactError           an artefact that is missing, corrupt or made of parts that do not match
├── ParityError             an exported graph that does not agree with the checkpoint (see tesserank_export.parity)
└── ServerError             a Triton server that cannot be started or does not answer
"""

from __future__ import annotations

from typing import ClassVar

from tesserank.protocol import ErrorCode


class TesserankError(Exception):
    """Base of all errors that tesserank raises on purpose."""


class RequestError(TesserankError):
    """A request that can never succeed as it is. ``wire()`` is the text that travels to the client."""

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL

    def wire(self) -> str:
        return f"{self.code.value}: {self}"


class InvalidArgumentError(RequestError):
    """A value, shape, encoding or order that no request may have."""

    code = ErrorCode.INVALID_ARGUMENT


class UnknownItemError(RequestError):
    """An id that is not in the catalogue, in a request that asked for an error in that case."""

    code = ErrorCode.UNKNOWN_ITEM


class EmptyRequestError(RequestError):
    """A user without any usable segment: no known history item and no text."""

    code = ErrorCode.EMPTY_REQUEST


class LimitExceededError(RequestError):
    """More segments, candidates, texts or bytes than a limit allows."""

    code = ErrorCode.LIMIT_EXCEEDED


class TopKTooLargeError(RequestError):
    """TOP_K above the number of candidates."""

    code = ErrorCode.TOP_K_TOO_LARGE


class OverloadedError(TesserankError):
    """A request that comes when too many wait, or that has waited too long; it may succeed later."""


class DataError(TesserankError):
    """A catalogue or an event log that cannot be used."""


class ConfigError(TesserankError):
    """A segments file, a limit or an option that cannot be used."""


class ArtifactError(TesserankError):
    """An artefact that is missing, corrupt or made of parts that do not match."""


class ParityError(TesserankError):
    """An exported graph that does not agree with the checkpoint it was made from."""


class ServerError(TesserankError):
    """A Triton server that cannot be started or does not answer."""
