"""How long two artefacts take for the same users: each user asked of both, one right after the other.

What disturbs the machine then disturbs both alike, and differences are of the same history. The request path runs in
this process, from a history to the best ten: without client, network and server, which are the same for both. Nothing
that is encoded is cached, so a history that goes through the encoder does so every time (a cold request).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tesserank.artifact.layout import Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.encoding.cache import SegmentCache
from tesserank.encoding.engine import OnnxEngine
from tesserank.errors import EmptyRequestError
from tesserank.serving.embedder import SegmentEmbedder
from tesserank.serving.ranker import open_scorer
from tesserank.serving.request import RankingOptions
from tesserank_evaluation.late_interaction import context_of
from tesserank_evaluation.split import History

TOP_K = 10
CONFIDENCE = 0.95
_WARM_UP_USERS = 4
_RESAMPLES = 2_000

Answer = Callable[[History], object]


def open_answer(artifact: Path, threads: int) -> Answer:
    """What answers for one history: its best items. A history without any segment, which is refused, gets None."""
    precision = load_manifest(artifact, []).precision
    engine = OnnxEngine.for_precision(Layout(artifact).encoder(precision), precision, threads)
    embedder = SegmentEmbedder.open(artifact, SegmentCache(0), engine)
    scorer = open_scorer(artifact, embedder.index, embedder.config, threads)
    ids = [item.encode() for item in embedder.index.item_ids]
    limits = embedder.config.limits

    def answer(history: History) -> object:
        context = context_of(history, ids, limits.max_history_events)
        options = RankingOptions(history=context.item_ids, top_k=TOP_K)
        try:
            return scorer.rank(embedder.embed([context]).segments, [options])
        except EmptyRequestError:
            return None

    return answer


def time_both(
    answers: Sequence[Answer], histories: Sequence[History], seed: int, advance: Callable[[int], None]
) -> NDArray[np.float64]:
    """Seconds [2, N] of both ``answers`` for every history; who is asked first is drawn anew for each."""
    for history in histories[:_WARM_UP_USERS]:
        for answer in answers:
            answer(history)
    first = np.random.default_rng(seed).integers(2, size=len(histories))
    seconds = np.zeros((2, len(histories)))
    for user, history in enumerate(histories):
        for which in (first[user], 1 - first[user]):
            started = perf_counter()
            answers[which](history)
            seconds[which, user] = perf_counter() - started
        advance(1)
    return seconds


def latency(seconds: NDArray[np.float64], seed: int) -> dict[str, Any]:
    """Medians in milliseconds, their difference, B less A, and its confidence interval, from seconds [2, N].

    The interval is the bootstrap's by percentiles (Efron and Tibshirani 1993, chapter 13), users drawn with what both
    took for them. None for a single user, of whom nothing can be drawn.
    """
    one, other = np.median(seconds, axis=1) * 1e3
    interval = None
    if seconds.shape[1] > 1:
        found = stats.bootstrap(
            tuple(seconds * 1e3), _difference_of_medians, paired=True, vectorized=True, n_resamples=_RESAMPLES,
            confidence_level=CONFIDENCE, method="percentile", random_state=np.random.default_rng(seed),
        )  # fmt: skip
        interval = [round(float(end), 4) for end in found.confidence_interval]
    return {
        "users": seconds.shape[1],
        "a_p50_ms": round(float(one), 4),
        "b_p50_ms": round(float(other), 4),
        "difference_ms": round(float(other - one), 4),
        "interval_ms": interval,
        "samples_ms": {name: [round(float(s) * 1e3, 4) for s in own] for name, own in zip("ab", seconds, strict=True)},
    }


def _difference_of_medians(one: NDArray[Any], other: NDArray[Any], axis: int) -> NDArray[Any]:
    difference: NDArray[Any] = np.median(other, axis=axis) - np.median(one, axis=axis)
    return difference
