"""Where the server may listen: loopback addresses, and the requested ports when free or any free ones for 0."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterable
from contextlib import ExitStack

from tesserank.errors import ServerError

MAXIMUM_PORT = 65_535

HTTP_PORT, GRPC_PORT, METRICS_PORT = 8000, 8001, 8002  # Triton's own defaults


def claim_ports(host: str, requested: Iterable[tuple[str, int]]) -> list[int]:
    """The ports to use, in order, for pairs of (command line flag, port or 0).

    All are held until all are known, so no two are the same. Raises ServerError naming the port and its flag.
    """
    with ExitStack() as held:
        return [held.enter_context(_bind(host, flag, port)).getsockname()[1] for flag, port in requested]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``; false for every name but localhost, since names may change."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_remote(host: str) -> None:
    """Raises ServerError unless ``host`` is a loopback address: the embedded server has known vulnerabilities."""
    if not is_loopback(host):
        raise ServerError(
            f"--host {host} is not a loopback address, and the embedded Triton 24.10 has known vulnerabilities "
            f"(CVE-2025-23310, -23311, -23316; CVE-2026-24207, -47627): serve from a container of Triton 26.07 or "
            f"later, or accept them with --allow-remote"
        )


def _bind(host: str, flag: str, port: int) -> socket.socket:
    if not 0 <= port <= MAXIMUM_PORT:
        raise ServerError(f"{flag} {port} is not a port: choose 1 to {MAXIMUM_PORT}, or 0 for any free port")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise ServerError(f"--host {host} is not an address of this machine: {error.strerror}") from error
    listener = socket.socket(family, kind, protocol)
    try:
        # As Triton binds: connections of a former server that linger in TIME_WAIT are no obstacle, a listener is.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1)  # two sockets that merely reuse the address may share a port; two listeners may not
    except OSError as error:
        listener.close()
        raise ServerError(_explain(error, host, flag, port)) from error
    return listener


def _explain(error: OSError, host: str, flag: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use: choose another with {flag}, or 0 for any free port"
    if error.errno == errno.EACCES:
        return f"port {port} needs privileges: choose one above 1023 with {flag}, or 0 for any free port"
    return f"cannot listen on {host}:{port} ({flag}): {error.strerror}"
