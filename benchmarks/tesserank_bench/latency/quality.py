"""Whether what was timed ranks as it should: the served top 10 of the whole catalogue against float64 references."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean

from tesserank_bench.latency.bench import Bench, Result
from tesserank_bench.latency.in_process import InProcess
from tesserank_bench.latency.paths import HOT, ITEMS, TIMEOUT_S, TOP_K
from tesserank_bench.latency.plan import CATALOGUE
from tesserank_client import Client

COMPARED_PATHS = (HOT, ITEMS)


def measure(bench: Bench, url: str, references: Mapping[str, InProcess], into: Result) -> None:
    """Fill ``into["quality"]``, by reference: how many rankings are equal, and the mean share of items in common."""
    users = bench.material.users[: bench.plan.reference_users]
    requests = [bench.requests.make(path, user, CATALOGUE) for user in users for path in COMPARED_PATHS]
    bench.say(f"quality: {len(requests)} rankings of the whole catalogue against {len(references)} references")
    with Client(url, timeout=TIMEOUT_S) as client:
        served = [list(client.recommend_many([request])[0].item_ids) for request in requests]
    into["quality"] = {"rankings": len(requests), "top_k": TOP_K}
    for name, reference in references.items():
        expected = [reference.top(request) for request in requests]
        pairs = list(zip(served, expected, strict=True))
        into["quality"][name] = {
            "same_ranking": sum(ours == theirs for ours, theirs in pairs),
            "overlap": round(mean(len(set(ours) & set(theirs)) / len(theirs) for ours, theirs in pairs), 4),
        }
