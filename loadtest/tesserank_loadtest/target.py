"""The server under test: one that runs already, or one started for the run and stopped after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tesserank.errors import ConfigError, ServerError
from tesserank.server import TritonServer
from tesserank.server.ports import METRICS_PORT, is_loopback
from tesserank_client import Client, TesserankClientError
from tesserank_loadtest.monitor import listener, read_counters
from tesserank_loadtest.plan import Protocol

DEFAULT_URLS: Mapping[Protocol, str] = {"grpc": "127.0.0.1:8001", "http": "127.0.0.1:8000"}
DEFAULT_METRICS = f"http://127.0.0.1:{METRICS_PORT}/metrics"
READY_TIMEOUT_S = 3.0

Urls = Mapping[Protocol, str]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Target:
    """A server that is ready: the endpoint of each protocol (``host:port``), its metrics page and its first process.

    ``metrics_url`` is None where none is known, ``pid`` where the process is not to be seen from here.
    """

    urls: Urls
    metrics_url: str | None
    pid: int | None

    def unmeasured(self) -> list[str]:
        """What a reader should know of figures that are missing."""
        notes = []
        if read_counters(self.metrics_url) is None:
            where = f"at {self.metrics_url}" if self.metrics_url else "named (--metrics-url)"
            notes.append(
                f"no metrics page {where}: stages, batch sizes, cache and padding of the server are not measured"
            )
        if self.pid is None:
            notes.append("the server's process is not to be seen from here: its CPU and memory are not measured")
        return notes


@contextmanager
def started_or_running(
    named: Urls,
    metrics_url: str | None,
    protocols: Sequence[Protocol],
    repository: Path,
    log_file: Path,
    say: Say,
) -> Iterator[Target]:
    """A server that is ready.

    Endpoints that are ``named`` must be ready. Without any, the server at the usual ports is taken and, when none
    answers there, one is started on ``repository`` at free ports and stopped at the end of the context.

    Raises:
        ServerError: The named server is not ready; none can be started; or the one started ended by itself.
    """
    if named:
        _check_ready(named)
        yield _running(named, metrics_url)
        return
    usual = {protocol: DEFAULT_URLS[protocol] for protocol in protocols}
    if any(_is_ready(protocol, url) for protocol, url in usual.items()):
        _check_ready(usual)
        say(f"found a server at {', '.join(usual.values())}")
        yield _running(usual, metrics_url or DEFAULT_METRICS)
        return
    with _configure(repository, log_file, usual) as server:
        say(f"no server runs, so one was started on {repository}")
        server.wait_answering()
        own: Urls = {"grpc": server.urls.grpc, "http": server.urls.http.removeprefix("http://")}
        yield Target({protocol: own[protocol] for protocol in protocols}, server.urls.metrics, server.pid)
        if server.returncode is not None:
            raise server.failure()


def _running(urls: Urls, metrics_url: str | None) -> Target:
    address = urlsplit(f"//{next(iter(urls.values()))}")
    here = address.hostname is not None and address.port is not None and is_loopback(address.hostname)
    return Target(urls, metrics_url, listener(address.port) if here and address.port else None)


def check_url(option: str, url: str, *, allow_remote: bool) -> str:
    """``url`` as ``host:port``. Raises ConfigError when it is none, or of another machine without ``allow_remote``."""
    address = url.removeprefix("http://").rstrip("/")
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or port is None or parts.netloc != address:
        raise ConfigError(f"{option} {url!r} is not host:port, as {' or '.join(DEFAULT_URLS.values())}")
    if not allow_remote and not is_loopback(host):
        raise ConfigError(
            f"{option} {url}: {host} is not a loopback address; a load test is an attack on a server that is not "
            "yours: confirm with --allow-remote"
        )
    return address


def _configure(repository: Path, log_file: Path, usual: Urls) -> TritonServer:
    try:
        return TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0, log_file=log_file)
    except ServerError as error:
        raise ServerError(f"no server answers at {' or '.join(usual.values())}, and none can start: {error}") from error


def _check_ready(urls: Urls) -> None:
    silent = [f"{protocol}://{url}" for protocol, url in urls.items() if not _is_ready(protocol, url)]
    if silent:
        raise ServerError(
            f"no server that serves `recommend` answers at {' and '.join(silent)}: start one with `tesserank serve`, "
            "or name it with --grpc-url and --http-url"
        )


def _is_ready(protocol: Protocol, url: str) -> bool:
    try:
        with Client(url, protocol, READY_TIMEOUT_S) as client:
            return client.is_ready()
    except TesserankClientError:
        return False
