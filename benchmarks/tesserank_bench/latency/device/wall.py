"""What many callers run into: processor time of each of the server's processes for a request."""

from __future__ import annotations

from collections.abc import Mapping

import psutil

from tesserank.protocol import INTERFACES, RECOMMEND, SEGMENT_RANKER
from tesserank.server import TritonServer
from tesserank_bench.latency.bench import Bench, Result
from tesserank_bench.latency.load import LoadGenerator
from tesserank_bench.latency.paths import HOT
from tesserank_bench.latency.plan import COMPARED

TRITON = "tritonserver"
_MODELS = [interface.model for interface in INTERFACES if interface is not RECOMMEND]  # an ensemble has no process


def measure(bench: Bench, server: TritonServer, generator: LoadGenerator, into: Result) -> None:
    """Fill ``into["wall"]``: one more load of hot requests, of as many callers as were answered fastest.

    ``one_interpreter_per_second``: requests that the ranker's process would answer if it did nothing else, on one core:
    Python runs one thread at a time. ``caller_busiest``: near 1, the callers were measured and not the server.
    """
    entries = [entry for entry in into.get("throughput", []) if entry["path"] == HOT]
    if not entries:
        return
    best = max(entries, key=lambda entry: entry["per_second"])
    count = bench.plan.load_requests[HOT, COMPARED]
    requests = [bench.requests.make(HOT, bench.material.user(turn), COMPARED) for turn in range(count)]
    before = cpu_seconds(server.pid)
    load = generator.run(server.urls.grpc, best["callers"], requests)
    spent = {name: seconds - before.get(name, 0.0) for name, seconds in cpu_seconds(server.pid).items()}
    into["wall"] = {
        "callers": load.callers,
        "per_second": round(load.per_second, 2),
        "caller_busiest": round(load.busiest_process, 3),
        "caller_cores": round(load.cores_used, 3),
        **arithmetic(spent, len(load.seconds)),
    }


def arithmetic(spent: Mapping[str, float], requests: int) -> Result:
    """Of processor seconds by process: milliseconds a request, and the requests a second of one interpreter."""
    ranker = spent.get(SEGMENT_RANKER.model, 0.0) / requests
    return {
        "cpu_ms_per_request": {name: round(1e3 * seconds / requests, 4) for name, seconds in sorted(spent.items())},
        "one_interpreter_per_second": round(1 / ranker, 1) if ranker else None,
    }


def cpu_seconds(pid: int) -> dict[str, float]:
    """Of a server so far, by process: the server's own as TRITON, its Python processes by the model that they run."""
    server = psutil.Process(pid)
    found: dict[str, float] = {}
    for process in (server, *server.children(recursive=True)):
        command = process.cmdline()
        model = next((name for name in _MODELS if any(f"/{name}/" in word for word in command)), TRITON)
        times = process.cpu_times()
        found[model] = found.get(model, 0.0) + times.user + times.system
    return found
