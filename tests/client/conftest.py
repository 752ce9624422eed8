"""Endpoints that fail, for real: each is a socket on loopback. And one way to ask by all four transports."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tesserank_client import AsyncClient, Client

TRANSPORTS = [("sync", "grpc"), ("sync", "http"), ("async", "grpc"), ("async", "http")]
Ask = Callable[..., Any]


@pytest.fixture(params=TRANSPORTS, ids=lambda param: "-".join(param))
def ask(request: pytest.FixtureRequest) -> Ask:
    """``ask(url, method, **arguments)``: one call by a fresh client of one of the four transports."""
    flavour, protocol = request.param

    def ask_once(url: str, method: str = "recommend", client_timeout: Any = 5.0, **arguments: Any) -> Any:
        if flavour == "sync":
            with Client(url, protocol, client_timeout) as client:
                return getattr(client, method)(**arguments)

        async def ask_async() -> Any:
            async with AsyncClient(url, protocol, client_timeout) as client:
                return await getattr(client, method)(**arguments)

        return asyncio.run(ask_async())

    return ask_once


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening socket that nobody serves: connections are made, and stay silent."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        yield listening


@pytest.fixture
def silent_url(listener: socket.socket) -> str:
    """Accepts, and never answers."""
    return url_of(listener)


@pytest.fixture
def refusing_url() -> str:
    """Nobody listens there."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return url_of(unused)


@pytest.fixture
def unconnectable_url() -> Iterator[str]:
    """A full backlog: the kernel leaves further connections waiting, neither accepted nor refused."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for connection in waiting:
            connection.setblocking(False)
            connection.connect_ex(listening.getsockname())
        yield url_of(listening)
        for connection in waiting:
            connection.close()


@pytest.fixture(params=[b"", b"220 mail.example ESMTP\r\n"], ids=["hangs-up", "talks-smtp"])
def strange_url(request: pytest.FixtureRequest, listener: socket.socket) -> Iterator[str]:
    """Reads a little of what a client sends, says something that is neither HTTP nor gRPC, and hangs up."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # the test is over and the listener shut
            with connection:
                connection.recv(64)
                connection.sendall(request.param)

    thread = threading.Thread(target=serve)
    thread.start()
    yield url_of(listener)
    listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def url_of(bound: socket.socket) -> str:
    host, port = bound.getsockname()
    return f"{host}:{port}"
