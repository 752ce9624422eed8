"""A comparison as people read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tesserank_evaluation.compare.compare import METRICS
from tesserank_evaluation.compare.latency import TOP_K
from tesserank_evaluation.markdown import table, value
from tesserank_evaluation.metrics import KS


def markdown(result: Mapping[str, Any]) -> str:
    """Quality, agreement and latency; ± is one standard error, brackets are 95% confidence intervals."""
    data, of = result["dataset"], result["of"]
    lines = [
        f"## A and B on {data['name']}: {data['items']:,} items, {of['ranked_users']:,} users, {of['protocol']}",
        "",
        *(
            f"- {name.upper()}: {of[name]['artifact']} ({of[name]['name']}), fitted on {of[name]['fitted_on']}"
            for name in "ab"
        ),
        "",
        *_quality(result["quality"]),
        "",
        *_agreement(result["agreement"]),
        "",
        *_latency(result["latency"]),
    ]
    return "\n".join(lines) + "\n"


def _quality(quality: Mapping[str, Any]) -> Iterator[str]:
    yield from table(
        ["", "A", "B", "B less A, user by user", "95%", "shown"],
        [
            [
                name,
                value(quality["a"][name]),
                value(quality["b"][name]),
                value(quality["difference"][name], "+"),
                _interval(quality["difference"][name]["interval"], 4),
                quality["difference"][name]["shown"],
            ]
            for name in METRICS
        ],
    )


def _agreement(found: Mapping[str, Any]) -> Iterator[str]:
    yield from table(
        ["agreement of lists", *(f"best {k}" for k in KS)],
        [
            ["share of items in both (overlap@k)", *(value(found[f"overlap@{k}"]) for k in KS)],
            ["the very same list", *(value(found[f"same@{k}"]) for k in KS)],
        ],
    )
    yield ""
    yield f"Rank-biased overlap, p = 0.9: {value(found['rbo'])}."


def _latency(found: Mapping[str, Any] | None) -> Iterator[str]:
    if found is None:
        yield "Latency was not measured."
        return
    yield (
        f"Best {TOP_K} in process, {found['users']:,} users, nothing cached, p50: A {found['a_p50_ms']:.2f} ms, "
        f"B {found['b_p50_ms']:.2f} ms; B less A {found['difference_ms']:+.2f} ms {_interval(found['interval_ms'], 2)}."
    )


def _interval(ends: list[float] | None, digits: int) -> str:
    return "" if ends is None else f"[{ends[0]:+.{digits}f}, {ends[1]:+.{digits}f}]"
