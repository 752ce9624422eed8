"""What Locust runs, in processes of its own: the users of a closed loop, or the one sender of an open loop.

The plan comes by the file that the environment variable PLAN_VARIABLE names. What is counted lies in the run's
recorder, which workers send to their master with Locust's own reports, and which is written when the run ends.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import gevent
from grpc.experimental import gevent as grpc_gevent
from locust import User, constant, events, task
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import MasterRunner, Runner, WorkerRunner
from locust.user.users import LOCUST_STATE_STOPPING

from tesserank_client import Client
from tesserank_loadtest import page
from tesserank_loadtest.plan import PLAN_VARIABLE, Protocol, load_plan
from tesserank_loadtest.ranges import MAXIMUM_USERS
from tesserank_loadtest.recorder import Recorder, Sample
from tesserank_loadtest.reports import Reports
from tesserank_loadtest.schedule import Arrival, Slot, closed_loop, open_loop
from tesserank_loadtest.sending import Clock, Dispatcher, Sender, allow_in_flight
from tesserank_loadtest.workload import Turn, load_workload

# Ctrl-C's signal is how a run is ended with its reports written; in a shell's background job it would be ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

PLAN_FILE = Path(os.environ[PLAN_VARIABLE])
PLAN = load_plan(PLAN_FILE)
REPORTS = Reports(PLAN_FILE.parent)
WORKLOAD = load_workload(PLAN.workload)
WITH_PAGE = "--web-port" in sys.argv

BEGIN = "tesserank-begin"  # the message with which a run begins in every process
DONE = "tesserank-done"  # and the one with what a process has counted, when it has all its answers
UNTIL_START_S = 1.0  # from the message to the start: users are there, and connected
PAYLOAD = "tesserank"  # where the recorder lies in a worker's report

LOG = logging.getLogger("tesserank_loadtest")


class Run:
    """A run in this process, from the message of its beginning on."""

    def __init__(self, environment: Environment, start_at: float, turns: Iterator[Turn], slot: Slot) -> None:
        self.slot = slot
        self.turns = turns
        self.clock = Clock(start_at)
        self.sender = Sender(PLAN, WORKLOAD, self.clock, self._record)
        self.waiting_for = 1 if PLAN.arrivals else 0  # the dispatcher, or requests of a closed loop
        self.dispatched = False
        self._environment = environment
        self._start_at = start_at
        self._recorder = new_recorder()
        self._cpu = time.process_time()
        self._began = time.perf_counter()

    def report(self) -> Recorder:
        """What was counted since the last report."""
        counted, self._recorder = self._recorder, new_recorder()
        counted.started_at = self._start_at
        counted.cpu[str(os.getpid())] = (time.process_time() - self._cpu) / max(1e-9, time.perf_counter() - self._began)
        return counted

    def dispatch(self, stopped: Callable[[], bool]) -> None:
        """Send this process's part of an open loop, by the first user that comes here."""
        if not self.dispatched:
            self.dispatched = True
            try:
                Dispatcher(PLAN, self.sender, self.clock, self._drop).run(open_loop(PLAN, WORKLOAD, self.slot), stopped)
            finally:
                self.waiting_for -= 1

    def ask(self, client: Client, protocol: Protocol) -> None:
        """Send the next request of a closed loop."""
        prepared = self.sender.prepare(next(self.turns))
        self.waiting_for += 1
        try:
            self.sender.send(client, protocol, prepared)
        finally:
            self.waiting_for -= 1

    def _record(self, sample: Sample) -> None:
        self._recorder.add(sample)
        self._tell_locust(sample.endpoint, (sample.done - sample.intended) * 1e3, sample.error)

    def _drop(self, arrival: Arrival) -> None:
        self._recorder.drop(arrival.intended)
        self._tell_locust(PLAN.endpoint(arrival.protocol), 0.0, "dropped: too many requests in flight")

    def _tell_locust(self, endpoint: str, milliseconds: float, error: str | None) -> None:
        """For Locust's web page and its own tables."""
        protocol, _, model = endpoint.partition(" ")
        self._environment.events.request.fire(
            request_type=protocol,
            name=model,
            response_time=milliseconds,
            response_length=0,
            exception=error,
            context={},
        )


def new_recorder() -> Recorder:
    return Recorder(PLAN.interval_s, PLAN.warmup_s)


class Generator:
    """This process's part of Locust: the run at hand and, in the one that reports, what all have counted."""

    def __init__(self) -> None:
        self.run: Run | None = None
        self.merged = new_recorder()
        self.done = 0  # processes that have sent all they will
        self.reports = True  # whether this process writes what was counted

    def begin(self, environment: Environment, start_at: float) -> None:
        """Begin a run: the first, or another from the web page, which sends the same requests again."""
        worker = isinstance(environment.runner, WorkerRunner)
        slot = Slot(environment.runner.worker_index if worker else 0, PLAN.processes)
        # What is there now stays: a collection that walks all of a catalogue and a log takes as long as many requests.
        gc.collect()
        gc.freeze()
        self.run = Run(environment, start_at, closed_loop(WORKLOAD, slot), slot)
        if not WITH_PAGE:
            gevent.spawn(conclude, environment, self.run)

    def collect(self, recorder: Recorder) -> None:
        """Take what a process has counted."""
        self.merged.merge(recorder)


GENERATOR = Generator()


@events.init.add_listener  # type: ignore[untyped-decorator]
def join(environment: Environment, runner: Runner, web_ui: Any = None, **_: object) -> None:
    """Set this process up: Locust has forked its workers by now, and nothing of gRPC ran before."""
    grpc_gevent.init_gevent()  # before any channel exists, or a call of one user blocks all others
    allow_in_flight(PLAN.in_flight if PLAN.arrivals else MAXIMUM_USERS)
    # gevent's timers start at the last reading of its clock, which was before this file was loaded.
    gevent.get_hub().loop.update_now()
    GENERATOR.reports = not isinstance(runner, WorkerRunner)
    if not isinstance(runner, MasterRunner):
        runner.register_message(BEGIN, lambda environment, msg, **_: GENERATOR.begin(environment, msg.data))
    if not isinstance(runner, WorkerRunner):
        runner.register_message(DONE, lambda environment, msg, **_: finish(environment, msg.data))
    if web_ui is not None:
        page.extend(web_ui.app, REPORTS)


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def announce(environment: Environment, **_: object) -> None:
    """Have all processes begin at one moment. Workers have the message before they are told to start users."""
    if not isinstance(environment.runner, WorkerRunner):
        GENERATOR.merged = new_recorder()
        environment.runner.send_message(BEGIN, time.time() + UNTIL_START_S)


def conclude(environment: Environment, run: Run) -> None:
    """Tell what was counted as soon as the last answer is there, and that this process is done.

    Locust's own end of a run does not wait for what its workers still wait for: half a second, and it is lost.
    """
    run.clock.wait_until(PLAN.duration_s)
    while run.waiting_for:
        gevent.sleep(0.02)
    environment.runner.send_message(DONE, run.report().to_dict())


def finish(environment: Environment, counted: Mapping[str, Any]) -> None:
    """End the run when all processes are done."""
    GENERATOR.collect(Recorder.from_dict(counted))
    GENERATOR.done += 1
    if GENERATOR.done == PLAN.processes:
        gevent.spawn(environment.runner.quit)


@events.report_to_master.add_listener  # type: ignore[untyped-decorator]
def hand_over(data: dict[str, Any], **_: object) -> None:
    """A worker's part of its report."""
    if GENERATOR.run is not None:
        data[PAYLOAD] = GENERATOR.run.report().to_dict()


@events.worker_report.add_listener  # type: ignore[untyped-decorator]
def take_over(data: dict[str, Any], **_: object) -> None:
    """The master's part of it."""
    if PAYLOAD in data:
        GENERATOR.collect(Recorder.from_dict(data[PAYLOAD]))


@events.quit.add_listener  # type: ignore[untyped-decorator]
def end(exit_code: int, **_: object) -> None:
    """Write what was counted and end the process; Locust has ended its users.

    At once: the interpreter's own way of ending was seen to hang here, after everything was written.
    """
    if GENERATOR.reports:
        if GENERATOR.run is not None:
            GENERATOR.collect(GENERATOR.run.report())
        try:
            REPORTS.recorder.write_text(json.dumps(GENERATOR.merged.to_dict()), encoding="utf-8")
        except OSError:
            LOG.exception("cannot write what was counted")
            exit_code = exit_code or 1
    logging.shutdown()
    sys.stdout.flush()
    os._exit(exit_code)


class _PlannedUser(User):  # type: ignore[misc]
    abstract = True
    wait_time = constant(0)

    def stopped(self) -> bool:
        """Whether Locust wants this user to end."""
        return bool(self._state == LOCUST_STATE_STOPPING)


class OpenLoop(_PlannedUser):
    """Sends this process's arrivals at their times."""

    abstract = PLAN.arrivals is None

    @task  # type: ignore[untyped-decorator]
    def follow(self) -> None:
        """All of the schedule."""
        current_run().dispatch(self.stopped)
        raise StopUser


class _ClosedLoopUser(_PlannedUser):
    """Sends the next request when it has the answer to the last."""

    abstract = True
    protocol: ClassVar[Protocol]

    def on_start(self) -> None:
        self.client = Client(PLAN.urls[self.protocol], self.protocol, PLAN.timeout_s)
        self.client.is_ready()  # connects; a server that is not ready shows in the requests

    def on_stop(self) -> None:
        self.client.close()

    @task  # type: ignore[untyped-decorator]
    def ask(self) -> None:
        """One request."""
        run = current_run()
        now = run.clock.now()
        if now < 0 and not run.clock.wait_until(0.0, self.stopped):
            return
        if now >= PLAN.duration_s and not WITH_PAGE:
            raise StopUser
        run.ask(self.client, self.protocol)


def current_run() -> Run:
    if GENERATOR.run is None:
        raise RuntimeError("users before the message of the beginning")
    return GENERATOR.run


# Locust starts the users of every class here that is not abstract.
class GrpcUser(_ClosedLoopUser):
    """Asks over gRPC. The users of one process share one connection: gRPC pools those of equal channels."""

    abstract = PLAN.users is None or "grpc" not in PLAN.urls
    protocol = "grpc"


class HttpUser(_ClosedLoopUser):
    """Asks over HTTP."""

    abstract = PLAN.users is None or "http" not in PLAN.urls
    protocol = "http"
