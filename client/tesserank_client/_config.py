"""How long a client waits and where it connects to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tesserank_client._errors import InvalidArgumentError

Protocol = Literal["grpc", "http"]
DEFAULT_URLS: dict[Protocol, str] = {"grpc": "127.0.0.1:8001", "http": "127.0.0.1:8000"}
LONGEST_TIMEOUT = 86_400.0  # seconds; more is a unit mistaken, and would overflow the microseconds on the wire


def _check_seconds(what: str, seconds: float) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise InvalidArgumentError(f"{what} {seconds!r}: it is a number of seconds")
    if not math.isfinite(seconds) or not 0 < seconds <= LONGEST_TIMEOUT:
        raise InvalidArgumentError(f"{what} of {seconds} s: it is above 0 and at most {LONGEST_TIMEOUT:g} s")


@dataclass(frozen=True)
class Timeout:
    """A deadline: every call has one.

    Args:
        total: Seconds from the call to its answer.
        connect: Seconds to connect in; None leaves it to ``total``. Running out of it is a ConnectError.
    """

    total: float
    connect: float | None = None

    def __post_init__(self) -> None:
        _check_seconds("timeout", self.total)
        if self.connect is not None:
            _check_seconds("connect timeout", self.connect)

    def within(self, total: float | None) -> float:
        """Seconds of one call: its own timeout if it has one, else the client's."""
        if total is None:
            return self.total
        _check_seconds("timeout", total)
        return total


DEFAULT_TIMEOUT = Timeout(5.0)


def check_url(url: str | None, protocol: Protocol) -> str:
    """``host:port``, the protocol's default if None."""
    if protocol not in DEFAULT_URLS:
        raise InvalidArgumentError(f"protocol {protocol!r}: it is 'grpc' or 'http'")
    if url is None:
        return DEFAULT_URLS[protocol]
    if "://" in url or not url:
        raise InvalidArgumentError(f"url {url!r}: give host:port without a scheme, as {DEFAULT_URLS[protocol]!r}")
    return url
