"""What Locust runs, in a process of its own: users of the project's client, in a closed loop.

The plan comes by the file that the environment variable PLAN_VARIABLE names. Users send their next request as soon as
they have their answer. The gRPC users of one process share one connection: gRPC pools those of equal channels.
"""

from __future__ import annotations

import csv
import logging
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import gevent
from grpc.experimental import gevent as grpc_gevent
from locust import User, constant, events
from locust.env import Environment
from locust.stats import PERCENTILES_TO_REPORT, StatsCSV

from tesserank_client import Client, Request, TesserankClientError
from tesserank_loadtest.plan import PLAN_VARIABLE, Protocol, load_plan
from tesserank_loadtest.reports import Reports
from tesserank_loadtest.workload import CrossEncoderRequest, load_workload

grpc_gevent.init_gevent()  # before any channel exists, or a call of one user blocks all others
# Ctrl-C's signal is how a run is ended with its reports written; in a shell's background job it would be ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

PLAN_FILE = Path(os.environ[PLAN_VARIABLE])
PLAN = load_plan(PLAN_FILE)
WORKLOAD = load_workload(PLAN.workload)
REQUEST_TYPES: dict[Protocol, str] = {"grpc": "gRPC", "http": "HTTP"}

for _protocol, _url in PLAN.urls.items():
    # Opening the first connection imports its library: half a second, which the first requests would seem to take.
    Client(_url, _protocol).close()

LOG = logging.getLogger("tesserank_loadtest")

_spawned: Counter[str] = Counter()
_first_messages: dict[tuple[str, str], str] = {}


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def start_over(**_: object) -> None:
    """Number the users from 0 again, so that another run from the web page sends the same requests."""
    _spawned.clear()
    _first_messages.clear()


@events.init.add_listener  # type: ignore[untyped-decorator]
def refresh_clock(**_: object) -> None:
    """Let gevent read the clock: its timers start at the last reading, which was before this file was loaded."""
    gevent.get_hub().loop.update_now()


@events.init.add_listener  # type: ignore[untyped-decorator]
def end_with_complete_csv(environment: Environment, **_: object) -> None:
    """Have ``end`` called when Locust has ended its users, and written and printed all that it will."""
    tables = StatsCSV(environment, PERCENTILES_TO_REPORT)
    environment.events.quit.add_listener(partial(end, tables))


def end(stats: StatsCSV, exit_code: int, **_: object) -> None:
    """Write the CSV files, which Locust does once a second but not at the end, and end the process.

    At once: the interpreter's own way of ending was seen to hang here, after everything was written.
    """
    try:
        write_csv(stats, Reports(PLAN_FILE.parent))
    except OSError:
        LOG.exception("cannot write the CSV files")
        exit_code = exit_code or 1
    logging.shutdown()
    sys.stdout.flush()
    os._exit(exit_code)


def write_csv(stats: StatsCSV, reports: Reports) -> None:
    """Locust's three tables, as they are now."""
    tables = (
        (reports.requests, stats.requests_csv),
        (reports.failures, stats.failures_csv),
        (reports.exceptions, stats.exceptions_csv),
    )
    for path, write in tables:
        with path.open("w", encoding="utf-8", newline="") as stream:
            write(csv.writer(stream))


class _ClientUser(User):  # type: ignore[misc]
    """A user with a client of its own, which over HTTP must not be shared."""

    abstract = True
    wait_time = constant(0)
    protocol: ClassVar[Protocol]
    timeout_s: ClassVar[float]

    def on_start(self) -> None:
        kind = type(self).__name__
        self.requests = self.open_stream(kind, _spawned[kind])
        _spawned[kind] += 1
        self.client = Client(PLAN.urls[self.protocol], self.protocol, self.timeout_s)
        self.client.is_ready()  # connects; a server that is not ready shows in the requests

    def on_stop(self) -> None:
        self.client.close()

    def open_stream(self, kind: str, user: int) -> Iterator[Any]:
        raise NotImplementedError

    def measure(self, name: str, call: Callable[[], object]) -> None:
        """Time one call, and hand it to Locust: milliseconds, and the client's error if it failed."""
        request_type, failure = REQUEST_TYPES[self.protocol], None
        started = time.perf_counter()
        try:
            call()
        except TesserankClientError as error:
            failure = describe(request_type, error)
        milliseconds = (time.perf_counter() - started) * 1e3
        self.environment.events.request.fire(
            request_type=request_type,
            name=name,
            response_time=milliseconds,
            response_length=0,
            exception=failure,
            context={},
        )


def describe(request_type: str, error: TesserankClientError) -> str:
    """An error by its class, with the first message of that class: Locust keeps a row for every different text."""
    name = type(error).__name__
    if (request_type, name) not in _first_messages:
        _first_messages[request_type, name] = str(error).partition("\n")[0]  # a traceback may follow, for the log
        LOG.warning("first %s over %s: %s", name, request_type, error)
    return f"{name} (first: {_first_messages[request_type, name]})"


class _RecommendUser(_ClientUser):
    abstract = True
    timeout_s = PLAN.timeout_s

    def open_stream(self, kind: str, user: int) -> Iterator[Request]:
        return WORKLOAD.recommend_requests(kind, user)

    def recommend(self) -> None:
        request = next(self.requests)
        self.measure("recommend", lambda: self.client.recommend_many([request]))

    tasks: ClassVar = [recommend]


class _CrossEncoderUser(_ClientUser):
    abstract = True
    fixed_count = 1
    timeout_s = PLAN.cross_encoder_timeout_s

    def open_stream(self, kind: str, user: int) -> Iterator[CrossEncoderRequest]:
        return WORKLOAD.cross_encoder_requests(kind, user)

    def cross_encode(self) -> None:
        request: CrossEncoderRequest = next(self.requests)
        self.measure("cross_encode", lambda: self.client.cross_encode(request.history_text, request.candidate_texts))

    tasks: ClassVar = [cross_encode]


# Locust starts the users of every class here that is not abstract.
class GrpcUser(_RecommendUser):
    """Asks ``recommend`` over gRPC."""

    abstract = "grpc" not in PLAN.urls
    protocol = "grpc"


class HttpUser(_RecommendUser):
    """Asks ``recommend`` over HTTP."""

    abstract = "http" not in PLAN.urls
    protocol = "http"


class GrpcCrossEncoderUser(_CrossEncoderUser):
    """Asks ``cross_encoder`` over gRPC."""

    abstract = "grpc" not in PLAN.urls or not PLAN.cross_encoder
    protocol = "grpc"


class HttpCrossEncoderUser(_CrossEncoderUser):
    """Asks ``cross_encoder`` over HTTP."""

    abstract = "http" not in PLAN.urls or not PLAN.cross_encoder
    protocol = "http"
