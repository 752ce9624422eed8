"""Starts a tritonserver on a model repository, waits until it is ready, and stops it without a trace."""

from __future__ import annotations

import http.client
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tesserank.errors import ServerError
from tesserank.protocol import SEGMENT_RANKER
from tesserank.server import logs
from tesserank.server.backends import assemble_backends, server_environment
from tesserank.server.command import ServerCommand
from tesserank.server.doctor import canary
from tesserank.server.environment import SHARED_MEMORY, check_environment, find_installation
from tesserank.server.ports import GRPC_PORT, HTTP_PORT, METRICS_PORT, claim_ports, refuse_remote
from tesserank.server.process import GuardedProcess
from tesserank.server.repository import check_repository, with_instances

POLL_S = 0.05
_BACKENDS, _LINKED_REPOSITORY = "backends", "model_repository"  # in the directory of a run


@dataclass(frozen=True)
class Urls:
    """Where the server answers. ``grpc`` has no scheme, as tritonclient wants it; the others are complete."""

    grpc: str
    http: str
    metrics: str


class TritonServer:
    """A tritonserver process, started on entering the context and stopped on leaving it.

    Parameters:
        model_repository: a folder of models, as ``make export`` assembles it
        host: the address to listen on. The embedded server (Triton 24.10) has known vulnerabilities, so another than a
            loopback address takes ``allow_remote=True``
        http_port, grpc_port, metrics_port: 0 is any free port
        log_file: all that the server and its models print; None is a temporary file, kept when the start fails
        rankers: processes of segment_ranker, each with an index and a segment cache of its own: one runs Python on one
            core
        model_config_name: the variant (``configs/NAME.pbtxt``) that models are loaded with, where they have it
        tritonserver: the executable; None searches for one (``find_installation``)
        ready_timeout_s: seconds until all models are loaded and warmed up
        exit_timeout_s: seconds that requests in flight have to finish on ``stop``, and idle HTTP connections to be
            closed by their clients, for which Triton waits too; SIGKILL comes 5 seconds later
        log_verbose: Triton's verbosity, 0 is off
        response_cache_bytes: size of the response cache for the models that ask for it; 0 is none
        extra_arguments: passed on to tritonserver as they are
        environment: variables for this server alone, beside those of the running process

    Raises ServerError: from the constructor when the configuration cannot work, from ``start`` when the server fails.
    """

    def __init__(
        self,
        model_repository: Path,
        *,
        host: str = "127.0.0.1",
        http_port: int = HTTP_PORT,
        grpc_port: int = GRPC_PORT,
        metrics_port: int = METRICS_PORT,
        log_file: Path | None = None,
        rankers: int = 1,
        model_config_name: str | None = None,
        tritonserver: Path | None = None,
        ready_timeout_s: float = 120.0,
        exit_timeout_s: int = 5,
        log_verbose: int = 0,
        response_cache_bytes: int = 0,
        allow_remote: bool = False,
        extra_arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        check_repository(model_repository, model_config_name)
        if rankers < 1:
            raise ServerError(f"rankers must be at least 1, not {rankers}")
        self._installation = find_installation(tritonserver)
        check_environment(self._installation)
        if self._installation.embedded and not allow_remote:
            refuse_remote(host)
        self._model_repository = model_repository
        self._environment = environment or {}
        self._host = host
        self._requested = (("--http-port", http_port), ("--grpc-port", grpc_port), ("--metrics-port", metrics_port))
        self._requested_log_file = log_file
        self._rankers = rankers
        self._model_config_name = model_config_name
        self._ready_timeout_s = ready_timeout_s
        self._exit_timeout_s = exit_timeout_s
        self._log_verbose = log_verbose
        self._response_cache_bytes = response_cache_bytes
        self._extra_arguments = tuple(extra_arguments)
        self._ports: list[int] = []
        self._run_directory: Path | None = None
        self._process: GuardedProcess | None = None

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end(keep_log=isinstance(error, ServerError))  # such an error may refer to the log

    @property
    def urls(self) -> Urls:
        """The three endpoints, with the ports actually taken. Raises ServerError before ``start``."""
        if not self._ports:
            raise ServerError("the server is not started")
        host = f"[{self._host}]" if ":" in self._host else self._host
        http_port, grpc_port, metrics_port = self._ports
        return Urls(f"{host}:{grpc_port}", f"http://{host}:{http_port}", f"http://{host}:{metrics_port}/metrics")

    @property
    def rankers(self) -> int:
        """Processes of segment_ranker."""
        return self._rankers

    @property
    def pid(self) -> int:
        """Process id of tritonserver; its Python stubs are its children. Raises ServerError before ``start``."""
        return self._running_process().pid

    @property
    def log_file(self) -> Path:
        """Where the server's output goes. Raises ServerError before ``start``."""
        return self._log_path(self._run_folder())

    @property
    def returncode(self) -> int | None:
        """Exit status of a server that has ended, negative for a signal; None while it runs."""
        return self._running_process().returncode

    def start(self) -> None:
        """Launches the server and returns when it is ready. A failure leaves no process; Ctrl-C neither."""
        if self._process is not None:
            raise ServerError(f"the server is already started, as process {self.pid}")
        try:
            self._launch()
            self.wait_ready()
        except BaseException as error:
            self._end(keep_log=isinstance(error, ServerError))
            raise

    def wait_ready(self, timeout_s: float | None = None) -> None:
        """Returns when every model is ready. ``timeout_s`` (default: ready_timeout_s) counts from this call.

        Raises ServerError with the server's own reason as soon as its process ends, or when the time is over.
        """
        process, timeout_s = self._running_process(), self._ready_timeout_s if timeout_s is None else timeout_s
        deadline = time.monotonic() + timeout_s
        while not _answers_ready(self._host, self._ports[0]):
            if process.wait(POLL_S) is not None:
                raise self.failure()
            if time.monotonic() > deadline:
                raise ServerError(f"tritonserver is not ready after {timeout_s:g} s; {self._reason()}")

    def wait_answering(self, timeout_s: float = 60.0) -> None:
        """Returns when the whole pipeline has answered: READY says that the models are loaded, not that they work.

        Raises ServerError that names every broken stage and its remedy.
        """
        try:
            canary(self.urls.grpc, timeout_s)
        except ServerError as error:
            if self.returncode is not None:
                raise self.failure() from error
            raise ServerError(f"{error}\nThe whole log: {self.log_file}") from error

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Waits for the server to end by itself; returns its exit status, or None when ``timeout_s`` passed first."""
        return self._running_process().wait(timeout_s)

    def failure(self) -> ServerError:
        """The error to raise when ``wait`` has returned: how the server ended and what its log says."""
        return ServerError(f"tritonserver {_ending(self._running_process())}; {self._reason()}")

    def stop(self) -> None:
        """Ends the server and everything it started. Does nothing when it is not running; safe to call again."""
        self._end(keep_log=False)

    def _launch(self) -> None:
        self._ports = claim_ports(self._host, self._requested)
        self._run_directory = Path(tempfile.mkdtemp(prefix="tesserank-server-"))
        log_file = self._log_path(self._run_directory)
        log_file.parent.mkdir(parents=True, exist_ok=True)
        log_file.write_bytes(b"")  # what an earlier server wrote is not this one's reason
        backends = assemble_backends(self._installation, self._run_directory / _BACKENDS)
        self._process = GuardedProcess(
            self._command(self._repository(self._run_directory), backends, self._run_directory.name),
            environment={**server_environment(self._installation, backends), **self._environment},
            log_file=log_file,
        )
        self._process.start()

    def _repository(self, run_directory: Path) -> Path:
        if self._rankers == 1:
            return self._model_repository
        return with_instances(
            self._model_repository, SEGMENT_RANKER.model, self._rankers, run_directory / _LINKED_REPOSITORY
        )

    def _command(self, repository: Path, backends: Path, region_prefix: str) -> list[str]:
        http_port, grpc_port, metrics_port = self._ports
        return ServerCommand(
            installation=self._installation,
            model_repository=repository,
            backends=backends,
            host=self._host,
            http_port=http_port,
            grpc_port=grpc_port,
            metrics_port=metrics_port,
            region_prefix=region_prefix,
            model_config_name=self._model_config_name,
            exit_timeout_s=self._exit_timeout_s,
            log_verbose=self._log_verbose,
            response_cache_bytes=self._response_cache_bytes,
            extra_arguments=self._extra_arguments,
        ).line()

    def _end(self, *, keep_log: bool) -> None:
        if self._run_directory is None:
            return
        try:
            if self._process is not None:
                # Triton gives requests its own timeout first; the margin is for unloading the models.
                self._process.terminate(self._exit_timeout_s + 5.0)
        finally:  # a second Ctrl-C has killed it by now
            _remove(self._run_directory, keep_log=keep_log)
            self._run_directory, self._process, self._ports = None, None, []

    def _running_process(self) -> GuardedProcess:
        if self._process is None:
            raise ServerError("the server is not started")
        return self._process

    def _run_folder(self) -> Path:
        if self._run_directory is None:
            raise ServerError("the server is not started")
        return self._run_directory

    def _log_path(self, run_directory: Path) -> Path:
        return self._requested_log_file or run_directory / "tritonserver.log"

    def _reason(self) -> str:
        return f"{logs.explain(self.log_file)}\nThe whole log: {self.log_file}"


def _remove(run_directory: Path, *, keep_log: bool) -> None:
    for region in SHARED_MEMORY.glob(f"{run_directory.name}*"):  # left there by a server that was killed
        region.unlink(missing_ok=True)
    for name in (_BACKENDS, _LINKED_REPOSITORY):
        shutil.rmtree(run_directory / name, ignore_errors=True)
    if not keep_log or not any(run_directory.iterdir()):
        shutil.rmtree(run_directory, ignore_errors=True)


def _answers_ready(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=2.0)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):  # not listening yet, or still loading
        return False
    finally:
        connection.close()


def _ending(process: GuardedProcess) -> str:
    code = process.returncode
    return f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with status {code}"
