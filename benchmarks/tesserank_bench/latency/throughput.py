"""Many callers: requests a second by their number, what the cache is worth to them, and what padding costs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from tesserank.server import TritonServer
from tesserank_bench.figures import summarise
from tesserank_bench.latency.bench import Bench, Result, named
from tesserank_bench.latency.breakdown import at_rest, padding, settled
from tesserank_bench.latency.load import Load, LoadGenerator
from tesserank_bench.latency.plan import COMPARED, MIXED_CALLERS
from tesserank_bench.latency.stages import Observer
from tesserank_client import Request


@dataclass(frozen=True)
class _Kind:
    """What the callers of a load ask: the paths in turn."""

    paths: tuple[str, ...]
    size: int | None
    callers: int

    def requests(self, bench: Bench, count: int) -> list[Request]:
        """At least ``count``, and enough for every caller; users take turns, so that no two callers have the same.

        Of several paths, neighbours have different ones, and so has a user from turn to turn.
        """
        count = max(count, bench.plan.requests_each * self.callers)
        users = len(bench.material.users)
        return [
            bench.requests.make(
                self.paths[(turn + turn // users) % len(self.paths)], bench.material.user(turn), self.size
            )
            for turn in range(count)
        ]


def measure(bench: Bench, server: TritonServer, generator: LoadGenerator, into: Result) -> None:
    """Fill ``into["throughput"]``: every kind with every number of callers, in shuffled order, each several times."""
    plan = bench.plan
    kinds = {
        _Kind((path,), size, callers): count
        for (path, size), count in plan.load_requests.items()
        for callers in plan.callers
    }
    order = [kind for kind in kinds for _ in range(plan.load_repeats)]
    bench.say(f"throughput: {len(order)} loads of {min(plan.callers)} to {max(plan.callers)} callers")
    taken: dict[_Kind, list[Load]] = {kind: [] for kind in kinds}
    try:
        for position in np.random.default_rng(bench.seed).permutation(len(order)).tolist():
            kind = order[position]
            taken[kind].append(_load(bench, server, generator, kind, kinds[kind]))
    finally:
        into["throughput"] = [
            {"path": kind.paths[0], "candidates": named(kind.size)} | summarise_loads(loads)
            for kind, loads in taken.items()
            if loads
        ]


def contest(bench: Bench, cached: TritonServer, uncached: TritonServer, generator: LoadGenerator, into: Result) -> None:
    """Fill ``into["cache"]``: the same loads with the cache and without, in turn; one segment in ten is new."""
    kind = _Kind(bench.plan.contest_paths, COMPARED, bench.plan.contest_callers)
    taken: dict[str, list[Load]] = {"cached": [], "off": []}
    bench.say(f"cache against none: {kind.callers} callers, {bench.plan.contest_repeats} loads each")
    try:
        for _ in range(bench.plan.contest_repeats):
            for name, server in (("cached", cached), ("off", uncached)):
                taken[name].append(_load(bench, server, generator, kind, bench.plan.contest_requests))
    finally:
        into["cache"] = {name: summarise_loads(loads) for name, loads in taken.items() if loads}


def mixed(bench: Bench, server: TritonServer, generator: LoadGenerator, into: Result) -> None:
    """Fill ``into["padding"]``: several callers with sessions of one to six items, so texts of mixed lengths."""
    rng = np.random.default_rng(bench.seed)
    requests = [bench.requests.mixed(rng) for _ in range(bench.plan.mixed_requests)]
    bench.say(f"padding: {MIXED_CALLERS} callers with texts of mixed lengths")
    observer = Observer(server.urls.grpc, server.urls.metrics)
    try:
        before = at_rest(observer)
        generator.run(server.urls.grpc, MIXED_CALLERS, requests)
        if settled(observer, before, len(requests)) is not None:
            after = at_rest(observer)  # the encoder's process publishes in its own time
            into["padding"] = {"callers": MIXED_CALLERS, "requests": len(requests)} | padding(before, after)
    finally:
        observer.close()


def summarise_loads(loads: Sequence[Load]) -> Result:
    """Figures of equal loads: the median throughput, and the latencies of all of them together."""
    shares = [load.cached_share for load in loads if load.cached_share is not None]
    return {
        "callers": loads[0].callers,
        "per_second": round(median(load.per_second for load in loads), 2),
        "per_second_each": [round(load.per_second, 2) for load in loads],
        "window_s_each": [round(load.window_s, 3) for load in loads],
        "tail_s_each": [round(load.tail_s, 3) for load in loads],
        "failed": sum(len(load.failures) for load in loads),
        "cached_share": round(median(shares), 4) if shares else None,
        "busiest_caller_process": round(max(load.busiest_process for load in loads), 3),
        "caller_cores": round(median(load.cores_used for load in loads), 3),
    } | summarise([second for load in loads for second in load.seconds])


def _load(bench: Bench, server: TritonServer, generator: LoadGenerator, kind: _Kind, count: int) -> Load:
    bench.warm_up(server)  # what colder loads have pushed out of the cache
    return generator.run(server.urls.grpc, kind.callers, kind.requests(bench, count))
