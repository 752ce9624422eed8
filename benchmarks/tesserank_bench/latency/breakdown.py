"""What a request is made of: milliseconds by stage, and bytes in each direction."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tesserank.protocol import RECOMMEND, SEGMENT_ENCODER, SEGMENT_RANKER
from tesserank.server import TritonServer
from tesserank.serving.stages import PACK, STAGES
from tesserank_bench.latency.bench import Bench, Result, named
from tesserank_bench.latency.paths import (
    COLD,
    CROSS_INT8,
    HOT,
    ITEMS,
    ONE_SEGMENT,
    WARM,
    Asker,
    Prepared,
    Requests,
    Served,
)
from tesserank_bench.latency.plan import CATALOGUE, COMPARED
from tesserank_bench.latency.relay import CountingRelay
from tesserank_bench.latency.stages import Observer, Totals

Kinds = Sequence[tuple[str, int | None]]  # paths and candidates
OBSERVED: Kinds = (
    (ONE_SEGMENT, COMPARED),
    (COLD, COMPARED),
    (WARM, COMPARED),
    (HOT, COMPARED),
    (ITEMS, COMPARED),
    (HOT, CATALOGUE),
    (ITEMS, CATALOGUE),
)
STAGE_SECONDS, STAGE_RUNS = "tesserank_stage_seconds_total", "tesserank_stage_runs_total"
ENCODER_TOKENS = "tesserank_encoder_tokens_total"
POLL_S, SETTLE_S, REST_S, PATIENCE_S = 0.05, 0.1, 0.6, 3.0
RANKER, ENCODER = SEGMENT_RANKER.model, SEGMENT_ENCODER.model


def measure_stages(bench: Bench, server: TritonServer, served: Asker, into: Result, observed: Kinds = OBSERVED) -> None:
    """Fill ``into["stages"]``: of each kind that is ``observed`` the mean of some requests, one after the other."""
    bench.say("stages of a request, from the server's statistics and metrics")
    observer = Observer(server.urls.grpc, server.urls.metrics)
    into["stages"] = []
    try:
        for path, size in observed:
            turns = range(bench.plan.observed)
            prepared = [served.prepare(path, bench.material.user(turn), size) for turn in turns]
            stages = observe(bench, observer, prepared)
            into["stages"] += [{"path": path, "candidates": named(size)} | stages] if stages else []
    finally:
        observer.close()


def observe(bench: Bench, observer: Observer, prepared: Sequence[Prepared]) -> Result:
    """The mean stages of requests, sent one after the other; empty, which is said, if its metrics tell of others."""
    before = at_rest(observer)
    seconds = [ask(request) for request in prepared]
    after = settled(observer, before, len(seconds))
    if after is None:
        bench.say(f"  left out: the server's metrics do not tell of just the {len(seconds)} requests that were sent")
        return {}
    return {"requests": len(seconds), **mean_stages(after.since(before), seconds)}


def mean_stages(totals: Totals, seconds: list[float]) -> dict[str, float]:
    """Milliseconds of a request by stage; together they are the ``request_ms`` that the caller saw.

    ``totals``: what the server counted during requests that took the caller ``seconds``. Triton: queue, moving tensors
    between its processes, and what nothing else measures. Client: the client library, gRPC and loopback.
    """
    requests = len(seconds)

    def triton_ms(model: str, stage: str) -> float:
        return totals.statistic(model, stage, "ns") / requests / 1e6

    inside = {stage: totals.metric(STAGE_SECONDS, model=RANKER, stage=stage) / requests * 1e3 for stage in STAGES}
    request, server, queue = (
        float(np.mean(seconds)) * 1e3,
        triton_ms(RECOMMEND.model, "success"),
        triton_ms(RANKER, "queue"),
    )
    stages = {
        "client": request - server,
        "queue": queue,
        **inside,
        "triton": server - queue - sum(inside.values()),
    }
    return {f"{name}_ms": round(value, 3) for name, value in {"request": request, **stages}.items()}


def at_rest(observer: Observer) -> Totals:
    """The totals once whatever was asked before has been counted: models publish a quarter of a second late."""
    time.sleep(REST_S)
    return observer.totals()


def settled(observer: Observer, before: Totals, requests: int) -> Totals | None:
    """The totals when as many requests as that have been counted since ``before``; None if it is never just as many."""
    deadline = time.monotonic() + PATIENCE_S
    while _counted(observer.totals(), before) < requests:
        if time.monotonic() > deadline:
            return None
        time.sleep(POLL_S)
    time.sleep(SETTLE_S)  # metrics are published one after the other
    totals = observer.totals()
    return totals if _counted(totals, before) == requests else None


def _counted(now: Totals, before: Totals) -> int:
    return round(now.since(before).metric(STAGE_RUNS, model=RANKER, stage=PACK))


def padding(before: Totals, after: Totals) -> dict[str, Any]:
    """Of the encoder's input between two readings: tokens that were real, all of them, and the share of the others."""
    counted = after.since(before)
    real, padded = (counted.metric(ENCODER_TOKENS, model=ENCODER, tokens=name) for name in ("real", "padded"))
    return {
        "real_tokens": int(real),
        "padded_tokens": int(padded),
        "waste": (padded - real) / padded if padded else None,
    }


def measure_bytes(bench: Bench, server: TritonServer, pair_models: Mapping[str, str], into: Result) -> None:
    """Fill ``into["bytes"]``: of one request of each path, once its connection is open."""
    into["bytes"] = []
    pair_models = {path: model for path, model in pair_models.items() if path == CROSS_INT8}
    user = bench.material.user(0)
    with (
        CountingRelay(server.urls.grpc) as relay,
        Served(relay.address, Requests(bench.material), pair_models) as served,
    ):
        for path in (CROSS_INT8, ONE_SEGMENT, COLD, WARM, HOT, ITEMS):
            ask(served.prepare(path, user, bench.fewest))  # opens the connection
            for size in bench.sizes if path != CROSS_INT8 else (bench.fewest,):
                before = relay.counts()
                ask(served.prepare(path, user, size))
                sent, received = (now - then for now, then in zip(relay.counts(), before, strict=True))
                into["bytes"].append({"path": path, "candidates": named(size), "sent": sent, "received": received})


def ask(prepared: Prepared) -> float:
    """Seconds of one request."""
    call, check = prepared
    started = time.perf_counter()
    answer = call()
    passed = time.perf_counter() - started
    check(answer)
    return passed
