"""Requests on their way: sent by the project's client at their times, and timed. Runs in gevent."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent
from gevent.pool import Group

from tesserank_client import Client, TesserankClientError
from tesserank_loadtest.plan import Plan, Protocol
from tesserank_loadtest.recorder import Sample
from tesserank_loadtest.schedule import Arrival
from tesserank_loadtest.workload import CrossEncoderRequest, Prepared, Turn, Workload

LOOK_UP_S = 0.2  # how often a wait looks whether the run is over
OTHER_THREADS = 10  # what gevent itself uses the hub's pool for: its own default


def allow_in_flight(calls: int) -> None:
    """Let this many calls over gRPC wait for their answers at a time; threads are made as they are needed.

    Under gevent each waits in a thread of the hub's pool, which has ten: with ten slow answers on their way, a quick
    one would be seen only when the first of them is there.
    """
    gevent.get_hub().threadpool.maxsize = calls + OTHER_THREADS


class Clock:
    """Seconds since the start of the run, which all processes have at the same moment of the wall clock."""

    def __init__(self, start_at: float) -> None:
        self._zero = time.perf_counter() + start_at - time.time()

    def now(self) -> float:
        """Seconds since the start; negative before it."""
        return time.perf_counter() - self._zero

    def wait_until(self, moment: float, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Let others run until ``moment``, at least once. False when the run was stopped meanwhile.

        By gevent's timer, which is up to a millisecond late. To ask the clock for the last millisecond instead costs
        more than it gains: gRPC's answers come by threads, which then wait for the interpreter.
        """
        gevent.sleep(0)
        while (left := moment - self.now()) > 0:
            if stopped():
                return False
            gevent.sleep(min(left, LOOK_UP_S))
        return not stopped()


class Connections:
    """Clients by protocol: of gRPC one for all requests, of HTTP, whose clients cannot be shared, one a request."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._idle: dict[Protocol, list[Client]] = defaultdict(list)
        self._all: list[Client] = []

    @contextmanager
    def client(self, protocol: Protocol) -> Iterator[Client]:
        """A client to send one request with."""
        idle = self._idle[protocol]
        client = (idle[-1] if protocol == "grpc" else idle.pop()) if idle else self._open(protocol)
        try:
            yield client
        finally:
            if protocol == "http":
                idle.append(client)

    def connect(self) -> None:
        """Open the first connections, so that no request waits for them; a server not ready shows in the requests."""
        for protocol in self._plan.urls:
            with self.client(protocol) as client:
                client.is_ready()

    def close(self) -> None:
        """Close all connections."""
        for client in self._all:
            client.close()

    def _open(self, protocol: Protocol) -> Client:
        client = Client(self._plan.urls[protocol], protocol, self._plan.timeout_s)
        self._all.append(client)
        if protocol == "grpc":
            self._idle[protocol].append(client)
        return client


class Sender:
    """Prepares and sends the requests of a plan, and hands each complete sample to ``record``."""

    def __init__(self, plan: Plan, workload: Workload, clock: Clock, record: Callable[[Sample], None]) -> None:
        self._plan = plan
        self._workload = workload
        self._clock = clock
        self._record = record

    def prepare(self, turn: Turn) -> Prepared:
        """What is sent; not in the time of the request."""
        return self._workload.prepare(turn, self._plan.model)

    def send(self, client: Client, protocol: Protocol, prepared: Prepared, intended: float | None = None) -> None:
        """Send a request and wait for its answer; without an ``intended`` time it is intended to be sent now."""
        sent = self._clock.now()
        error, message, hits, misses = None, "", 0, 0
        try:
            if isinstance(prepared, CrossEncoderRequest):
                client.cross_encode(prepared.history_text, prepared.candidate_texts)
            else:
                answer = client.recommend_many([prepared])[0]
                hits, misses = answer.cache_hits, answer.cache_misses
        except TesserankClientError as refusal:
            error, message = type(refusal).__name__, str(refusal).partition("\n")[0]
        done = self._clock.now()
        endpoint = self._plan.endpoint(protocol)
        due = sent if intended is None else intended
        self._record(Sample(endpoint, due, sent, done, error, message, hits, misses))


class Dispatcher:
    """Sends the arrivals of an open loop at their times, whatever became of those before."""

    def __init__(self, plan: Plan, sender: Sender, clock: Clock, drop: Callable[[Arrival], None]) -> None:
        self._sender = sender
        self._clock = clock
        self._drop = drop
        self._limit = plan.in_flight
        self._last_s = plan.duration_s + plan.timeout_s
        self._connections = Connections(plan)
        self._in_flight = Group()

    def run(self, arrivals: Iterator[Arrival], stopped: Callable[[], bool]) -> None:
        """Send all arrivals and wait for their answers.

        One that finds ``max_in_flight`` requests on their way is dropped. Those still unsent when the deadline of the
        last has passed stay unsent, and so do all once the run is ``stopped``.
        """
        self._connections.connect()
        try:
            for arrival in arrivals:
                prepared = self._sender.prepare(arrival.turn)
                if not self._clock.wait_until(arrival.intended, stopped) or self._clock.now() > self._last_s:
                    break
                if len(self._in_flight) >= self._limit:
                    self._drop(arrival)
                else:
                    self._in_flight.spawn(self._send, arrival, prepared)
            self._in_flight.join()
        finally:
            self._connections.close()

    def _send(self, arrival: Arrival, prepared: Prepared) -> None:
        with self._connections.client(arrival.protocol) as client:
            self._sender.send(client, arrival.protocol, prepared, arrival.intended)
