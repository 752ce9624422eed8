"""The relay passes everything on, in both directions, and counts it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tesserank_bench.latency.relay import CountingRelay


@pytest.fixture
def doubling_server() -> Iterator[str]:
    """Answers every message with itself, twice; the address."""

    def answer(connection: socket.socket) -> None:
        with connection:
            while message := connection.recv(1 << 16):
                connection.sendall(message * 2)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, daemon=True).start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def connect(address: str) -> socket.socket:
    host, port = address.split(":")
    return socket.create_connection((host, int(port)), timeout=10.0)


def receive(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += connection.recv(1 << 16)
    return data


def test_bytes_pass_unchanged_and_are_counted_in_each_direction(doubling_server: str) -> None:
    with CountingRelay(doubling_server) as relay, connect(relay.address) as first, connect(relay.address) as second:
        message = bytes(range(256)) * 1_000
        first.sendall(message)
        assert len(receive(first, 2 * len(message))) == 2 * len(message)
        assert relay.counts() == (len(message), 2 * len(message))
        second.sendall(b"abc")
        assert receive(second, 6) == b"abcabc"
        assert relay.counts() == (len(message) + 3, 2 * len(message) + 6)


def test_leaving_the_block_ends_the_connections(doubling_server: str) -> None:
    with CountingRelay(doubling_server) as relay:
        connection = connect(relay.address)
        connection.sendall(b"x")
        assert receive(connection, 2) == b"xx"
    with connection:
        assert connection.recv(1) == b""
    with pytest.raises(OSError):  # refused or reset, as the system likes
        connect(relay.address)


def test_a_server_that_is_gone_ends_the_clients_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        address = f"127.0.0.1:{held.getsockname()[1]}"
    with CountingRelay(address) as relay, connect(relay.address) as connection:
        connection.settimeout(5.0)
        assert connection.recv(1) == b""
