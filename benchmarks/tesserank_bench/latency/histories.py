"""A history that grows by one event: what it costs to rank for it, by its length."""

from __future__ import annotations

from functools import partial
from typing import Any

from tesserank.server import TritonServer
from tesserank_bench.figures import summarise
from tesserank_bench.latency.bench import Bench, Result
from tesserank_bench.latency.breakdown import observe
from tesserank_bench.latency.paths import TIMEOUT_S, TOP_K, Prepared, history
from tesserank_bench.latency.plan import COMPARED
from tesserank_bench.latency.rounds import Case, run_rounds
from tesserank_bench.latency.stages import Observer
from tesserank_client import Client, Event, Recommendations, Request

EVENT_GAP_S = 60  # from the newest event of the history to the one that is appended


def measure(bench: Bench, servers: dict[str, TritonServer], into: Result) -> None:
    """Fill ``into["histories"]``, an entry for each length and way of cutting; ``servers`` by the way they cut.

    A sample is the request after an event was appended to a history that had been sent before: another event and
    another user every time.
    """
    plan = bench.plan
    cases: list[Case] = []
    encoded: dict[int, list[int]] = {}  # segments that requests of a case had to encode, by the case's position
    clients = {cut: Client(server.urls.grpc, timeout=TIMEOUT_S) for cut, server in servers.items()}
    bench.say(f"histories of {plan.history_lengths[0]} to {plan.history_lengths[-1]:,} events, one appended")
    try:
        for cut, client in clients.items():
            for length in plan.history_lengths:
                misses = encoded.setdefault(len(cases), [])
                key = {"cut": cut, "events": length, "candidates": COMPARED}
                appended = partial(_appended, bench, client, length, len(cases), misses)
                cases.append(Case(key, plan.history_repeats, appended))
        run_rounds(cases, plan.history_repeats, bench.seed, lambda done: None)
    finally:
        into["histories"] = [
            case.key | {"encoded_segments": sum(encoded[at]) / len(encoded[at])} | summarise(case.seconds)
            for at, case in enumerate(cases)
            if case.seconds
        ]
        for client in clients.values():
            client.close()


def measure_stages(bench: Bench, servers: dict[str, TritonServer], into: Result) -> None:
    """Fill ``into["history_stages"]``: the stages of such requests, for the shortest history and the longest."""
    lengths = bench.plan.history_lengths
    into["history_stages"] = []
    for cut, server in servers.items():
        observer = Observer(server.urls.grpc, server.urls.metrics)
        with Client(server.urls.grpc, timeout=TIMEOUT_S) as client:
            for number, length in enumerate((min(lengths), max(lengths))):
                appended = partial(_appended, bench, client, length, len(servers) * len(lengths) + number, [])
                stages = observe(bench, observer, [appended(turn) for turn in range(bench.plan.observed)])
                into["history_stages"] += [{"cut": cut, "events": length} | stages] if stages else []
        observer.close()


def _appended(bench: Bench, client: Client, length: int, case: int, misses: list[int], turn: int) -> Prepared:
    user = bench.material.user(turn)
    candidates = user.candidates[COMPARED]
    known = history(user, length)
    # An item of this case's own: histories of all lengths end alike, and would find each other's newest segment cached.
    items = list(bench.material.texts)
    item = items[(case * bench.plan.history_repeats + turn) % len(items)]
    grown = [*known, Event(item, user.timestamps[-1] + EVENT_GAP_S)]

    def request(events: list[Event]) -> Request:
        return Request(history=events, candidates=candidates, top_k=TOP_K)

    def check(answers: list[Recommendations]) -> None:
        misses.append(answers[0].cache_misses)

    client.recommend_many([request(known)])
    call: Any = partial(client.recommend_many, [request(grown)])
    return call, check
