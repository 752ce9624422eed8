"""The results as people read them: Markdown tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tesserank_evaluation.baselines import BASELINE_NAMES
from tesserank_evaluation.markdown import table, value
from tesserank_evaluation.metrics import GAINS, KS
from tesserank_evaluation.slices import SLICES
from tesserank_export.fit.record import markdown as fit_markdown

_MAIN = ("recall@10", "ndcg@10", "mrr@10", "ndcg@5", "ndcg@20", "ndcg@50")
_SLICED_BY = "ndcg@10"


def markdown(result: Mapping[str, Any]) -> str:
    """Every protocol's tables, best NDCG@10 first; ± is one standard error."""
    data = result["dataset"]
    lines = [
        f"## {data['name']}: {data['items']:,} items, {data['users']:,} users, {data['events']:,} events",
        "",
        "Leave-one-out over the whole catalogue, history items left out, ties in expectation; ± is one standard error.",
    ]
    for protocol, found in result["protocols"].items():
        lines += ["", *_protocol(protocol, found)]
    return "\n".join(lines) + "\n"


def _protocol(protocol: str, found: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {protocol}: {found['users']:,} users"
    yield ""
    yield f"{found['too_little_known']:,} users more have too little known of them for this protocol."
    yield ""
    ranked = found["recommenders"]
    names = sorted(ranked, key=lambda name: -float(ranked[name]["metrics"][_SLICED_BY]["mean"]))
    yield from table(
        ["", *_MAIN, "coverage@10", "fit s", "rank s"],
        [
            [
                name,
                *(value(ranked[name]["metrics"][key]) for key in _MAIN),
                f"{ranked[name]['coverage']['coverage@10']:.3f}",
                f"{ranked[name]['seconds']['fit']:.1f}",
                f"{ranked[name]['seconds']['rank']:.1f}",
            ]
            for name in names
        ],
    )
    yield ""
    yield from _against_best_baseline(found["against_best_baseline"])
    yield from _all_metrics(ranked)
    yield "NDCG@10 of parts of the users:"
    yield ""
    sizes = found["slices"]
    shown = [name for name in SLICES if sizes[name]]
    yield from table(
        ["", *(f"{name} ({sizes[name]:,})" for name in shown)],
        [[name, *(value(ranked[name]["slices"][part][_SLICED_BY]) for part in shown)] for name in names],
    )
    yield from _reranked(ranked)
    yield from _artifact(found)


def _against_best_baseline(found: Mapping[str, Any] | None) -> Iterator[str]:
    if found is None:
        return
    for name, metrics in found["difference"].items():
        shown = ", ".join(f"{key} {value(metrics[key], '+')}" for key in ("ndcg@10", "recall@10", "mrr@10"))
        yield f"{name} less {found['baseline']}, the best baseline, user by user: {shown}."
        yield ""


def _reranked(ranked: Mapping[str, Any]) -> Iterator[str]:
    """What reading candidates again took, and what it made of their order."""
    for name, entry in ranked.items():
        said = entry["settings"]
        if "rerank_ms_a_user" not in said:
            continue
        took, before = said["rerank_ms_a_user"], said["retrieve_ms_a_user"]
        yield ""
        yield (
            f"{name} reads {said['candidates']} candidates a user, which has the target among them for "
            f"{said['targets_among_candidates']:.1%}, in {took['p50']:,.0f} ms (median; p95 {took['p95']:,.0f}), after "
            f"{before['p50']:,.0f} ms of late interaction; NDCG@10 in late interaction's own order "
            f"{value(said['retrieved'][_SLICED_BY])}, {value(said['less_retrieved'][_SLICED_BY], '+')} by reading."
        )


def _artifact(found: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield "tesserank's segments file:"
    yield ""
    yield from ("```toml", found["segments"].strip(), "```")
    if found["fit"]:
        yield ""
        yield f"What each step of the fit gained: {fit_markdown(found['fit']).strip()}"


def _all_metrics(ranked: Mapping[str, Any]) -> Iterator[str]:
    for name, entry in ranked.items():
        if name in BASELINE_NAMES:
            continue
        yield f"Every metric of {name}:"
        yield ""
        metrics = entry["metrics"]
        yield from table(["k", *GAINS], [[str(k), *(value(metrics[f"{gain}@{k}"]) for gain in GAINS)] for k in KS])
        yield ""
