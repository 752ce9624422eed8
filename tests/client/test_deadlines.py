"""Every call ends in time, whatever the other end does: by all four transports, on real sockets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tesserank_client import (
    Client,
    ConnectError,
    DeadlineExceededError,
    InvalidArgumentError,
    Request,
    Timeout,
    TransportError,
)

SLACK = 2.0  # seconds that a busy machine may add


@contextmanager
def within(lowest: float, highest: float) -> Iterator[None]:
    start = time.monotonic()
    yield
    assert lowest <= time.monotonic() - start <= highest


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("recommend", {"history": ["a"]}),
        ("recommend_many", {"requests": [Request(["a"]), Request(["b"])]}),
        ("cross_encode", {"history_text": "a", "candidate_texts": ["b"]}),
    ],
)
def test_a_silent_server_exceeds_the_deadline(ask: Any, silent_url: str, method: str, arguments: Any) -> None:
    with within(0.25, 0.3 + SLACK), pytest.raises(DeadlineExceededError, match=rf"{silent_url} within 0\.3 s"):
        ask(silent_url, method, client_timeout=0.3, **arguments)


def test_a_call_may_have_a_deadline_of_its_own(ask: Any, silent_url: str) -> None:
    with within(0.25, 0.3 + SLACK), pytest.raises(DeadlineExceededError, match=r"within 0\.3 s"):
        ask(silent_url, history=["a"], timeout=0.3, client_timeout=30.0)


def test_a_refused_connection_is_a_connect_error_at_once(ask: Any, refusing_url: str) -> None:
    with within(0, SLACK), pytest.raises(ConnectError, match=refusing_url):
        ask(refusing_url, history=["a"], client_timeout=30.0)


def test_a_host_that_does_not_exist_is_a_connect_error(ask: Any) -> None:
    with pytest.raises(ConnectError):
        ask("no-such-host.invalid:8001", history=["a"], client_timeout=30.0)


def test_connecting_may_have_a_shorter_timeout(ask: Any, unconnectable_url: str) -> None:
    with within(0.25, 0.3 + SLACK), pytest.raises(ConnectError):
        ask(unconnectable_url, history=["a"], client_timeout=Timeout(30.0, connect=0.3))


def test_connecting_is_part_of_the_deadline(ask: Any, unconnectable_url: str) -> None:
    with within(0.25, 0.3 + SLACK), pytest.raises(DeadlineExceededError):
        ask(unconnectable_url, history=["a"], client_timeout=0.3)


def test_what_is_no_triton_server_is_a_transport_error(ask: Any, strange_url: str) -> None:
    with within(0, 5.0 + SLACK), pytest.raises(TransportError):
        ask(strange_url, history=["a"], client_timeout=5.0)


def test_an_unreachable_server_is_not_ready(ask: Any, refusing_url: str, silent_url: str) -> None:
    assert ask(refusing_url, "is_ready") is False
    assert ask(silent_url, "is_ready", client_timeout=0.3) is False


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_client_can_be_used_again_after_a_deadline(silent_url: str, protocol: Any) -> None:
    with Client(silent_url, protocol, 0.2) as client:
        for _ in range(3):
            with within(0.15, 0.2 + SLACK), pytest.raises(DeadlineExceededError):
                client.recommend(["a"])


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf"), 1e9, "5", None, True])
def test_a_timeout_is_a_sane_number_of_seconds(seconds: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="timeout"):
        Client(timeout=seconds)
    if seconds is not None:
        with pytest.raises(InvalidArgumentError, match="connect timeout"):
            Timeout(1.0, connect=seconds)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "grpc://127.0.0.1:8001", ""])
def test_a_url_is_host_and_port(url: str) -> None:
    with pytest.raises(InvalidArgumentError, match="host:port"):
        Client(url)


def test_the_protocol_is_one_of_two() -> None:
    with pytest.raises(InvalidArgumentError, match="'grpc' or 'http'"):
        Client(protocol="carrier pigeon")  # type: ignore[arg-type]


@pytest.mark.parametrize(("protocol", "url"), [("grpc", "grpc://127.0.0.1:8001"), ("http", "http://127.0.0.1:8000")])
def test_the_default_url_is_tritons_port_of_the_protocol(protocol: Any, url: str) -> None:
    with Client(protocol=protocol) as client:
        assert repr(client) == f"<Client {url}>"
