"""One catalogue in every kind of vectors: how large it is, whether it ranks as float32 does, and how fast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tesserank.index import ItemIndex
from tesserank.segments.config import TEXT_SPACE
from tesserank.serving.request import RankingOptions
from tesserank.serving.scorer import SegmentScorer
from tesserank.serving.segments import UserSegments
from tesserank_bench.figures import summarise
from tesserank_bench.index.material import Material
from tesserank_bench.index.plan import KINDS, THREADS, TOP_K, Plan
from tesserank_bench.index.sizes import bytes_of, text_bytes
from tesserank_bench.latency.rounds import Case, run_rounds
from tesserank_bench.real_input import ndcg
from tesserank_export.parity import compare_index

Result = dict[str, Any]
EXACT = "float32"  # the vectors that every kind is compared with
Answers = list[list[str]]  # of each user, the best items' ids


@dataclass(frozen=True)
class _Stored:
    """A catalogue in one kind of vectors, ready to rank for its users."""

    kind: str
    index: ItemIndex
    scorer: SegmentScorer
    users: list[UserSegments]

    @classmethod
    def of(cls, material: Material, index: ItemIndex, kind: str) -> _Stored:
        scorer = SegmentScorer.threaded(index, material.config, THREADS)
        return cls(kind, index, scorer, material.segments(index))


def measure(material: Material, plan: Plan, seed: int, say: Callable[[str], None], entries: list[Result]) -> None:
    """Append an entry for float32 and each of KINDS to ``entries``; an interruption leaves those that were made."""
    exact = _Stored.of(material, material.exact, EXACT)
    vectors = material.vectors(TEXT_SPACE)
    float32 = vectors.vectors.size * 4
    say(f"  float32: {len(material.users)} users' top {TOP_K} of {len(material.exact):,} items")
    expected = _answers(exact, material)
    entries.append(
        {"vectors": EXACT, "item_bytes": float32 / len(exact.index), "ndcg_at_10": _ndcg(expected, material)}
    )
    stored = []
    for kind in KINDS:
        say(f"  {kind}: stored, and the same rankings")
        own = _Stored.of(material, material.stored(kind), kind)
        stored.append(own)
        found = _answers(own, material)
        files = bytes_of(own.index)
        parity = compare_index(vectors, own.index.spaces[TEXT_SPACE], seed)
        entries.append(
            {
                "vectors": kind,
                "files": files,
                "item_bytes": round(text_bytes(files) / len(own.index), 2),
                "share_of_float32": text_bytes(files) / float32,
                "mean_cosine": round(parity.mean_cosine, 6),
                "agreement": {"histories": _agreement(expected, found), "items": round(parity.top10_agreement, 4)},
                "ndcg_at_10": _ndcg(found, material),
            }
        )
    _time(stored, material, plan, seed, say, entries[-len(stored) :])


def _answers(stored: _Stored, material: Material) -> Answers:
    """Each user's best items of the whole catalogue, what they had before left out."""
    answers = []
    for segments, (_, history, _) in zip(stored.users, material.users, strict=True):
        options = RankingOptions(history=[event.item_id.encode() for event in history], top_k=TOP_K)
        [ranking] = stored.scorer.rank([segments], [options])
        answers.append([stored.index.item_ids[row] for row in ranking.rows])
    return answers


def _agreement(expected: Answers, found: Answers) -> float:
    """Mean share of the items of an answer that the other answer has too."""
    shares = [len(set(ours) & set(theirs)) / len(theirs) for ours, theirs in zip(found, expected, strict=True)]
    return round(float(np.mean(shares)), 4)


def _ndcg(answers: Answers, material: Material) -> float:
    return ndcg(answers, material.users)


def _time(
    stored: Sequence[_Stored],
    material: Material,
    plan: Plan,
    seed: int,
    say: Callable[[str], None],
    entries: Sequence[Result],
) -> None:
    """Add ``rank`` to the ``entries`` of the ``stored``: what ranking so many candidates takes, interleaved."""
    cases = []
    for own in stored:
        for count in sorted({min(count, len(material.exact)) for count in plan.candidates}):
            cases.append(Case({"vectors": own.kind, "candidates": count}, plan.rounds, _timed(own, count, seed)))
    say(f"  {len(cases) * plan.rounds:,} rankings of candidates in {plan.rounds} interleaved rounds")
    for case in cases:  # first touches, compilation
        case.prepare(0)[0]()
    try:
        run_rounds(cases, plan.rounds, seed, lambda done: None)
    finally:
        for own, entry in zip(stored, entries, strict=True):
            entry["rank"] = [
                {"candidates": case.key["candidates"]} | summarise(case.seconds)
                for case in cases
                if case.key["vectors"] == own.kind and case.seconds
            ]


def _timed(stored: _Stored, count: int, seed: int) -> Callable[[int], tuple[Callable[[], Any], Callable[[Any], None]]]:
    """Users in turn, and ``count`` candidates drawn anew each turn: the same ones for every kind of vectors."""

    def prepare(turn: int) -> tuple[Callable[[], Any], Callable[[Any], None]]:
        rows = np.random.default_rng((seed, turn)).permutation(len(stored.index))[:count].tolist()
        candidates = [stored.index.item_ids[row].encode() for row in rows]
        users = [stored.users[turn % len(stored.users)]]
        options = [RankingOptions(candidates=candidates, top_k=min(TOP_K, count))]
        return partial(stored.scorer.rank, users, options), lambda answer: None

    return prepare
