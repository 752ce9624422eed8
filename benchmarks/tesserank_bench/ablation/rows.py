"""The rows of the table: each a change of the segments file or of the export's options, and nothing else.

Two things a segments file cannot say have rows of their own kind: what is not segments at all (sparse features), and a
history that is one segment, which must be cut off where the others stop looking (``Row.newest``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tesserank.segments.config import (
    ENCODER,
    IDF,
    LEARNED_SPACES,
    RELEVANCE,
    RELEVANT_COMPONENTS,
    UNIFORM,
    SegmentsConfig,
)
from tesserank_export.fit.candidates import LONG_HISTORY, TREND, TREND_RECENCY

Table = dict[str, Any]  # of a segments file

FULL = "full configuration"
ONE_LONG, ONE_LONG_TEXT = "one long segment", "text alone, one long segment"
TEXT_ALONE = "text alone"
PROPOSED = "both spaces, an item a segment: y_i = Σ_k y_ik"
_DIM = 50  # as the technique was first proposed
_FOREVER_S = 10**12  # more than lies between any two timestamps
_LONGEST_INPUT = 10**6  # tokens: the encoder's own limit is what counts


@dataclass(frozen=True)
class Row:
    """One configuration: ``change`` of the segments file and ``options`` of the export, from the full one's."""

    name: str
    group: str
    change: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    newest: int | None = None  # events of a history that are known; None: all
    features: str | None = None  # ranked by these, of ``features.FEATURES``, instead of by segments

    def segments(self, full: Table) -> Table:
        """The segments file of this row."""
        return merged(full, self.change)


def merged(table: Mapping[str, Any], change: Mapping[str, Any]) -> Table:
    """``table`` with the keys of ``change``, table by table; ``spaces`` are replaced as a whole."""
    out = dict(table)
    for key, value in change.items():
        old = out.get(key)
        whole = key == "spaces" or not (isinstance(value, Mapping) and isinstance(old, Mapping))
        out[key] = value if whole else merged(old, value)  # type: ignore[arg-type]
    return out


def all_rows(full: SegmentsConfig, dim: int) -> list[Row]:
    """Every row, the full configuration first. ``dim``: of the full configuration's token vectors."""
    newest = full.history.max_events
    rows = [Row(FULL, FULL), *_as_proposed(newest), *_cuts(newest), *_aggregations(full), *_spaces(full)]
    return [*rows, *_vectors(full, dim)]


def _as_proposed(newest: int) -> Iterator[Row]:
    group = "as first proposed, step by step"
    for name in ("popularity", "counts", "TF-IDF", "cosine"):
        yield Row(name if name == "popularity" else f"sparse features: {name}", group, features=name)
    plain: Table = {
        "history": {"recency": 1.0},
        "items": {"token_weights": "uniform"},
        "aggregation": {"method": "sum", "group_by_item": False},
    }
    spaces = {"item2vec": "word2vec", "factorisation": "SVD of user × item", "cooccurrence": "SVD of co-occurrence"}
    learned = {"learned": {space: {"dim": _DIM} for space in (*spaces, "collaborative")}}

    def step(name: str, change: Table, newest: int | None = None) -> Row:
        return Row(name, group, merged(merged(plain, learned), change), newest=newest)

    for space, method in spaces.items():
        yield step(f"{method}, {_DIM} dimensions", {"history": {"spaces": {space: 1.0}}})
    text, both = {"spaces": {"text": 1.0}}, {"spaces": {"text": 1.0, "collaborative": 1.0}}
    yield step("text through the transformer, one segment", {"history": text | _long(newest)}, newest)
    yield step("text through the transformer, an item a segment", {"history": text})
    yield step("both spaces, a session a segment: y_i = Σ_k y_ik", {"history": both | {"cut": "session"}})
    yield step(PROPOSED, {"history": both})


def _long(newest: int) -> Table:
    """Cut so that up to ``newest`` events are one segment."""
    limits = {"max_items": max(newest, 1), "min_items": 1, "token_limit": _LONGEST_INPUT}
    return {"cut": "session", "session_gap_s": _FOREVER_S, **limits}


def _cuts(newest: int) -> Iterator[Row]:
    group = "cut"
    as_text = {"aggregation": {"group_by_item": False}}
    alone = {"history": {"spaces": {"text": 1.0}}}
    long = {"history": _long(newest)}
    yield Row(ONE_LONG, group, merged(long, as_text), newest=newest)
    yield Row("one long segment, its items scored one by one", group, long, newest=newest)
    yield Row(TEXT_ALONE, group, alone)
    yield Row(ONE_LONG_TEXT, group, merged(merged(long, as_text), alone), newest=newest)
    for cut, name in (("session", "a session a segment"), ("content", "a segment up to a content boundary")):
        yield Row(name, group, {"history": {"cut": cut}})
        yield Row(f"{name}, as one text", group, merged({"history": {"cut": cut}}, as_text))


def _aggregations(full: SegmentsConfig) -> Iterator[Row]:
    group = "weights and aggregation"
    yield Row("sum over segments", group, _in_every_space(full, method="sum"))
    for temperature, name in ((0.05, "maximum (τ = 0.05)"), (1.0, "soft maximum, τ = 1"), (4.0, "soft maximum, τ = 4")):
        yield Row(name, group, _in_every_space(full, method="softmax", temperature=temperature))
    yield from _token_weights(full, group)
    for recency in (1.0, 0.6):
        yield Row(f"recency {recency:g}", group, _in_every_space(full, recency=recency))
    for events in (5, 20, 50):
        yield Row(f"the newest {events} events", group, _in_every_space(full, max_events=events))


def _token_weights(full: SegmentsConfig, group: str) -> Iterator[Row]:
    names = {
        IDF: "tokens weigh by IDF",
        RELEVANCE: "tokens weigh by relevance (learned)",
        UNIFORM: "tokens weigh all the same (no IDF)",
    }
    for kind, name in names.items():
        if kind != full.items.token_weights:
            yield Row(name, group, {"items": {"token_weights": kind}})


def _in_every_space(full: SegmentsConfig, **changes: Any) -> Table:
    """The spaces of the full configuration, all with these settings, whatever each had of its own."""
    return {"history": {"spaces": {name: own | changes for name, own in _own_spaces(full).items()}}}


def _own_spaces(full: SegmentsConfig) -> dict[str, Table]:
    """[history.spaces] of the full configuration, as a file says it."""
    return {
        name: {key: value for key, value in asdict(space).items() if value is not None}
        for name, space in full.history.spaces.items()
    }


def _spaces(full: SegmentsConfig) -> Iterator[Row]:
    group = "spaces"
    for space in LEARNED_SPACES:
        yield Row(f"{space} alone", group, {"history": {"spaces": {space: _added(space)}}})
    for space in ("ease", "transitions", "popularity", TREND):
        if space not in full.history.spaces:
            yield Row(f"and {space}", group, {"history": {"spaces": _own_spaces(full) | {space: _added(space)}}})


def _added(space: str) -> Table:
    """As ``tesserank fit`` begins with it: segments of a regression add up, others are aggregated as configured."""
    if space == TREND:
        return {"weight": 1.0, "method": "sum", "recency": TREND_RECENCY, "max_events": LONG_HISTORY}
    return {"weight": 1.0, "method": "sum"} if space in ("ease", "transitions") else {"weight": 1.0}


def _vectors(full: SegmentsConfig, dim: int) -> Iterator[Row]:
    group = "vectors"
    for wanted in (32, 64, 384):
        if wanted != dim:
            yield Row(f"token vectors of {wanted} dimensions", group, options={"dim": wanted})
    for kind, name in ((ENCODER, "the encoder's"), (RELEVANT_COMPONENTS, "relevant components (learned)")):
        if kind != full.items.projection:
            yield Row(f"token vectors projected: {name}", group, {"items": {"projection": kind}})
    for wanted in (50, 256):
        yield Row(f"collaborative vectors of {wanted} dimensions", group, options={"collaborative_dim": wanted})
    for factor in (2, 4):
        yield Row(f"one vector for {factor} tokens (pooled)", group, {"items": {"pooling_factor": factor}})
    for kind in ("float16", "compact"):
        yield Row(f"item vectors {kind}", group, {"items": {"vectors": kind}})
    yield Row("encoder int8", group, options={"precision": "int8"})
