"""A relay between client and server that counts what passes: the bytes of a request as the network sees them."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType

CHUNK = 1 << 16


class CountingRelay:
    """Listens on a free port of loopback and passes every connection on to ``address`` (host:port); a context manager.

    ``sent`` counts bytes from clients to the server, ``received`` those that came back: gRPC's framing included, TCP's
    and below not.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._target = (host.strip("[]"), int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self._lock = threading.Lock()
        self.sent = self.received = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """Where clients connect to, host:port."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def counts(self) -> tuple[int, int]:
        """Bytes sent and received so far."""
        with self._lock:
            return self.sent, self.received

    def __enter__(self) -> CountingRelay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for held in list(self._sockets):
            _end(held)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # the block has ended
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:  # nobody listens there, which the client must notice
                _end(client)
                continue
            self._sockets += [client, server]
            threading.Thread(target=self._pump, args=(client, server, "sent"), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, "received"), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, counter: str) -> None:
        try:
            while chunk := source.recv(CHUNK):
                with self._lock:  # before it is passed on: whoever has the answer finds it counted
                    setattr(self, counter, getattr(self, counter) + len(chunk))
                target.sendall(chunk)
        except OSError:
            pass
        finally:
            _end(source)
            _end(target)


def _end(held: socket.socket) -> None:
    with suppress(OSError):  # the other side was faster
        held.shutdown(socket.SHUT_RDWR)  # close alone would leave a thread waiting in recv or accept
    held.close()
