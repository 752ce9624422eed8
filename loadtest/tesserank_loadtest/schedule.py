"""Which process sends which request over which protocol, and when: the same, however many processes there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tesserank.errors import ConfigError
from tesserank_loadtest.arrivals import Times, replayed_times, send_times
from tesserank_loadtest.plan import PROTOCOLS, Plan, Protocol
from tesserank_loadtest.workload import Turn, Workload


class Arrival(NamedTuple):
    """A request of an open loop: seconds from the start of the run, and what it asks."""

    intended: float
    protocol: Protocol
    turn: Turn


class Slot(NamedTuple):
    """One of the processes of a generator."""

    number: int
    processes: int


def planned_times(plan: Plan, workload: Workload) -> Times:
    """Send times of all requests of an open loop, in seconds from the start, ascending.

    Raises ConfigError for a plan without arrivals, and for a replay of a log that has no times or is too short.
    """
    if plan.arrivals is None:
        raise ConfigError("a closed loop has no send times: give a --rate")
    if plan.arrivals.kind != "replay":
        return send_times(plan.arrivals, plan.duration_s, plan.workload.seed)
    times, _ = replayed_times(_timestamps(plan, workload), plan.arrivals.rate)
    return times[times < plan.duration_s]


def compression(plan: Plan, workload: Workload) -> float | None:
    """How many seconds of the events' time pass in one of the run; None where it is not replayed."""
    if plan.arrivals is None or plan.arrivals.kind != "replay":
        return None
    return replayed_times(_timestamps(plan, workload), plan.arrivals.rate)[1]


def _timestamps(plan: Plan, workload: Workload) -> Times:
    """Of as many turns as the rate sends in the run's time."""
    count = int(plan.arrivals.rate * plan.duration_s) if plan.arrivals is not None else 0
    stamps = [turn.timestamp for turn in workload.stretch(count)]
    if None in stamps:
        raise ConfigError("the events have no timestamps to replay: give --arrivals poisson")
    return np.array(stamps, dtype=np.float64)


def open_loop(plan: Plan, workload: Workload, slot: Slot) -> Iterator[Arrival]:
    """The arrivals of one process, in order of time."""
    protocols = _protocols(plan)
    for intended, turn in zip(planned_times(plan, workload).tolist(), workload.turns(), strict=False):
        turn_of_protocol, protocol = divmod(turn.number, len(protocols))
        if turn_of_protocol % slot.processes == slot.number:
            yield Arrival(intended, protocols[protocol], turn)


def closed_loop(workload: Workload, slot: Slot) -> Iterator[Turn]:
    """The turns of one process, which its users take as they become free."""
    return (turn for turn in workload.turns() if turn.number % slot.processes == slot.number)


def _protocols(plan: Plan) -> list[Protocol]:
    return [protocol for protocol in PROTOCOLS if protocol in plan.urls]
