"""Every size of catalogue and every kind of query, searched exhaustively and pruned, interleaved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.index import ItemIndex
from tesserank.search.proposer import StandInProposer
from tesserank.search.recall import DEPTHS
from tesserank.search.standins import StandIns
from tesserank.serving.scorer import Ranking, SegmentScorer
from tesserank_bench.catalogue.material import FULL_WINDOWS, KINDS, Material, Query
from tesserank_bench.catalogue.plan import THREADS, Plan
from tesserank_bench.figures import p50_ms, summarise
from tesserank_bench.latency.rounds import Case, run_rounds

Result = dict[str, Any]
EXHAUSTIVE = None  # the number of candidates of a search that scores every item
_STAGES = ("propose", "maxsim", "aggregate")


@dataclass
class _Search:
    """One way to search one catalogue for one kind of query; answers and stages are filled as it runs."""

    items: int
    kind: str
    candidates: int | None
    scorer: SegmentScorer
    queries: list[Query]
    answers: dict[int, NDArray[np.int64]] = field(default_factory=dict)  # by turn
    stages: list[dict[str, float]] = field(default_factory=list)

    def case(self, repeats: int) -> Case:
        key = {"items": self.items, "kind": self.kind, "candidates": self.candidates}
        return Case(key, repeats, self._prepare)

    def _prepare(self, turn: int) -> tuple[Callable[[], Any], Callable[[Any], None]]:
        query = self.queries[turn % len(self.queries)]
        return partial(self.scorer.rank, [query.user], [query.options]), partial(self._keep, turn)

    def _keep(self, turn: int, answer: list[Ranking]) -> None:
        [ranking] = answer
        self.answers[turn] = ranking.rows
        self.stages.append({name: ranking.seconds[name] for name in _STAGES})


def measure(material: Material, plan: Plan, seed: int, say: Callable[[str], None], result: Result) -> None:
    """Fill ``result["searches"]``: an entry for each search; also with those that an interruption left."""
    queries = {kind: found for kind in KINDS if (found := material.queries(kind, plan.users))}
    searches = []
    for items in sorted({min(items, len(material.index)) for items in plan.items}):
        index = material.first(items)
        say(f"catalogue of {items:,} items: stand-ins for its vectors")
        searches += _searches(material, index, plan, queries)
    cases = [search.case(plan.users) for search in searches]
    say(f"{len(cases) * plan.users:,} searches of {len(cases)} kinds in {plan.users} interleaved rounds")
    for search in searches:  # first touches, compilation
        search.scorer.rank([search.queries[0].user], [search.queries[0].options])
    try:
        run_rounds(cases, plan.users, seed, lambda done: say(f"  round {done} of {plan.users}"))
    finally:
        result["searches"] = [_entry(search, case, searches) for search, case in zip(searches, cases, strict=True)]


def _searches(material: Material, index: ItemIndex, plan: Plan, queries: dict[str, list[Query]]) -> list[_Search]:
    """Exhaustive and pruned for every kind; other numbers of candidates for one kind in the largest catalogue."""
    configured = material.config.search.candidates
    stand_ins = material.stand_ins(index)
    exhaustive = SegmentScorer.threaded(index, material.config, THREADS)
    pruned = {
        count: SegmentScorer.threaded(index, material.config, THREADS, _proposer(material, index, stand_ins, count))
        for count in {configured, *(plan.candidates if len(index) == max(plan.items) else ())}
    }
    found = []
    for kind, own in queries.items():
        found.append(_Search(len(index), kind, EXHAUSTIVE, exhaustive, own))
        counts = sorted(pruned) if kind == FULL_WINDOWS else [configured]
        found += [_Search(len(index), kind, count, pruned[count], own) for count in counts]
    return found


def _proposer(material: Material, index: ItemIndex, stand_ins: StandIns, candidates: int) -> StandInProposer:
    return StandInProposer.threaded(index, material.config, stand_ins, candidates, THREADS)


def _entry(search: _Search, case: Case, searches: list[_Search]) -> Result:
    entry = case.key | {"query_tokens": round(float(np.mean([query.tokens for query in search.queries])), 1)}
    if not case.seconds:
        return entry
    entry |= summarise(case.seconds)
    entry["stages_p50_ms"] = {name: p50_ms([stages[name] for stages in search.stages]) for name in _STAGES}
    if search.candidates is not EXHAUSTIVE:
        exact = next(
            other
            for other in searches
            if (other.items, other.kind, other.candidates) == (search.items, search.kind, EXHAUSTIVE)
        )
        turns = sorted(exact.answers.keys() & search.answers.keys())
        entry["recall"] = {
            f"at_{depth}": round(float(np.mean([_share(exact.answers[t], search.answers[t], depth) for t in turns])), 4)
            for depth in DEPTHS
            if turns
        }
    return entry


def _share(exact: NDArray[np.int64], found: NDArray[np.int64], depth: int) -> float:
    """Of the exact best ``depth`` items, those that were found among as many."""
    best = exact[:depth]
    return len(np.intersect1d(best, found[:depth])) / max(len(best), 1)
