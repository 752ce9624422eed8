"""tesserank's best items, put in the order of a cross-encoder that reads each with the user's history."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.serving.cross import PairScorer
from tesserank_evaluation.artifact import HeldOutArtifact, Model
from tesserank_evaluation.contenders import Contender, Outcome
from tesserank_evaluation.late_interaction import opened
from tesserank_evaluation.metrics import DEPTH, gains, mean_and_error
from tesserank_evaluation.paired import difference
from tesserank_evaluation.ranking import NO_ITEM, Advance, Ranked, best_lists
from tesserank_evaluation.recommender import Recommender
from tesserank_evaluation.reranking.finetuned import FineTuned, Origin
from tesserank_evaluation.reranking.pairs import history_text
from tesserank_evaluation.split import Cases, History
from tesserank_export.catalog import Catalog
from tesserank_export.heldout import recall_at_k, target_ranks

CANDIDATES = 100
_QUALITY = ("ndcg@10", "recall@10", "mrr@10")


@dataclass(frozen=True)
class Reranked(Contender):
    """Asks users one after another, as requests come.

    ``folder`` has what is fine-tuned; it must have begun with ``model``, the artefact's own checkpoint. ``command`` is
    what fine-tunes for a protocol.
    """

    catalog: Catalog
    model: Model
    folder: Path
    threads: int
    memory_bytes: int
    command: Callable[[str], str]

    def check(self, cases: Cases) -> None:
        """See ``Contender``. Raises ArtifactError as ``FineTuned.check``."""
        self._checked(cases, self.model)

    def identity(self, cases: Cases) -> Mapping[str, Any]:
        """See ``Contender``."""
        return FineTuned.on(self.folder, cases).identity()

    def rank(self, cases: Cases, artifact: HeldOutArtifact, advance: Advance) -> Outcome:
        """See ``Contender``. Items behind the candidates stay where late interaction has them."""
        started = time.perf_counter()
        tuned, meta = self._checked(cases, artifact.model)
        scorer = tuned.open(self.threads)
        with opened(artifact.root, self.threads, self.memory_bytes) as retriever:
            fitted = time.perf_counter() - started
            ranking = Reranking(retriever, scorer, self.catalog.texts)
            started = time.perf_counter()
            for history, target in zip(cases.histories, cases.targets.tolist(), strict=True):
                ranking.add(history, target)
                advance(1)
        ranked = Ranked.of(ranking.parts, started)
        settings = {"artifact": artifact.manifest.artifact_id, "fitted_on": artifact.fitted_on, "fine_tuned": meta}
        return Outcome(ranked, fitted, settings | ranking.described(ranked))

    def _checked(self, cases: Cases, model: Model) -> tuple[FineTuned, dict[str, Any]]:
        tuned = FineTuned.on(self.folder, cases)
        remedy = f"fine-tune one with {self.command(cases.protocol)}"
        return tuned, tuned.check(Origin(cases, self.catalog, model), remedy)


Part = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]


class Reranking:
    """Users ranked so far: by late interaction, and by the cross-encoder after it, with the time of both."""

    def __init__(self, retriever: Recommender, scorer: PairScorer, texts: Sequence[str]) -> None:
        self._retriever, self._scorer, self._texts = retriever, scorer, texts
        self._retrieved: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        self._retrieval_s: list[float] = []
        self._scoring_s: list[float] = []
        self.parts: list[Part] = []

    def add(self, history: History, target: int) -> None:
        started = time.perf_counter()
        scores = self._retriever.scores([history])
        [best] = best_lists(scores, [history.items], CANDIDATES)
        self._retrieval_s.append(time.perf_counter() - started)
        candidates = best[best != NO_ITEM]
        started = time.perf_counter()
        again = self._score(history, candidates)
        order = np.argsort(-again, kind="stable")
        self._scoring_s.append(time.perf_counter() - started)
        before = target_ranks(scores, np.array([target]), (history.items,))
        self._retrieved.append(before)
        after = _place(candidates, again, target) or before
        lists = np.full((1, DEPTH), NO_ITEM, dtype=np.int32)
        lists[0, : len(order)] = candidates[order][:DEPTH]
        self.parts.append((*after, lists))

    def _score(self, history: History, candidates: NDArray[np.int32]) -> NDArray[np.float32]:
        """[n]; items without a text, of which a reader of texts knows nothing, come behind all others."""
        texts = [self._texts[row].encode() for row in candidates.tolist()]
        [scores] = self._scorer.score([history_text(history.items, self._texts).encode()], [texts])
        found: NDArray[np.float32] = np.where([bool(text) for text in texts], scores, -np.inf).astype(np.float32)
        return found

    def described(self, ranked: Ranked) -> dict[str, Any]:
        """What the same users had before, how much better that became, and what it took."""
        better, tied = (np.concatenate(column) for column in zip(*self._retrieved, strict=True))
        less = difference(np.stack([ranked.better, ranked.tied]), np.stack([better, tied]))
        before = gains(better, tied)
        return {
            "candidates": CANDIDATES,
            "targets_among_candidates": round(float(recall_at_k(better, tied, CANDIDATES).mean()), 4),
            "retrieved": {name: mean_and_error(before[name]) for name in _QUALITY},
            "less_retrieved": {name: less[name] for name in _QUALITY},
            "rerank_ms_a_user": _milliseconds(self._scoring_s),
            "retrieve_ms_a_user": _milliseconds(self._retrieval_s),
        }


def _place(
    candidates: NDArray[np.int32], scores: NDArray[np.float32], target: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Candidates better than the target and tied with it, [1] each; None if the target is none of them."""
    [own] = scores[candidates == target][:1].tolist() or [None]
    if own is None:
        return None
    return np.array([(scores > own).sum()]), np.array([(scores == own).sum()])


def _milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    values = np.asarray(seconds) * 1e3
    figures = {"mean": values.mean(), "p50": np.percentile(values, 50), "p95": np.percentile(values, 95)}
    return {name: round(float(value), 2) for name, value in figures.items()}
