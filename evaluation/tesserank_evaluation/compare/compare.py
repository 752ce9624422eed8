"""The comparison of two artefacts: what is asked of both, and what is made of the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from threadpoolctl import threadpool_limits

from tesserank_evaluation.artifact import HeldOutArtifact
from tesserank_evaluation.compare.agreement import agreement
from tesserank_evaluation.compare.latency import latency, open_answer, time_both
from tesserank_evaluation.late_interaction import opened
from tesserank_evaluation.metrics import gains, mean_and_error
from tesserank_evaluation.paired import difference
from tesserank_evaluation.ranking import Ranked, rank
from tesserank_evaluation.split import Cases, History

QUANTILE = 1.96  # of the normal distribution: 95% lie within as many standard errors
METRICS = ("ndcg@10", "recall@10", "mrr@10", "ndcg@5", "ndcg@20", "ndcg@50")
Result = dict[str, Any]


def ranked(
    artifact: HeldOutArtifact, cases: Cases, n_items: int, threads: int, memory_bytes: int, console: Console
) -> Ranked:
    """Every case ranked by an artefact in this process, the whole catalogue."""
    with opened(artifact.root, threads, memory_bytes) as recommender, Progress(console=console, transient=True) as bar:
        task = bar.add_task(artifact.manifest.artifact_id, total=len(cases))
        return rank(recommender, cases, n_items, lambda count: bar.advance(task, count))


def of_rankings(a: Ranked, b: Ranked) -> Result:
    """Quality of both, of B less A with its interval, and the agreement of their lists."""
    ranks = {name: np.stack([own.better, own.tied]) for name, own in (("a", a), ("b", b))}
    quality = {
        name: _shown({key: mean_and_error(one) for key, one in gains(*own).items()}) for name, own in ranks.items()
    }
    less = _shown(difference(ranks["b"], ranks["a"]))
    return {
        "quality": quality | {"difference": {name: with_interval(own) for name, own in less.items()}},
        "agreement": agreement(a.lists, b.lists),
    }


def with_interval(figure: Mapping[str, float | None]) -> Result:
    """A mean difference with its 95% interval by the normal distribution, and what that shows."""
    mean, error = figure["mean"] or 0.0, figure["se"]
    if error is None:
        return dict(figure) | {"interval": None, "shown": "nothing"}
    ends = [round(mean - QUANTILE * error, 5), round(mean + QUANTILE * error, 5)]
    shown = "B is better" if ends[0] > 0 else "A is better" if ends[1] < 0 else "no difference"
    return dict(figure) | {"interval": ends, "shown": shown}


def timed(
    artifacts: Sequence[HeldOutArtifact], cases: Cases, users: int, threads: int, seed: int, console: Console
) -> Result:
    """The latency of both for a sample of the cases."""
    sample = np.sort(np.random.default_rng(seed).permutation(len(cases))[:users])
    histories: list[History] = [cases.histories[case] for case in sample]
    with threadpool_limits(1, "blas"), Progress(console=console, transient=True) as bar:
        answers = [open_answer(artifact.root, threads) for artifact in artifacts]
        task = bar.add_task("latency", total=len(histories))
        advance: Callable[[int], None] = lambda count: bar.advance(task, count)  # noqa: E731
        return latency(time_both(answers, histories, seed, advance), seed)


def _shown(metrics: Mapping[str, Any]) -> Result:
    return {name: metrics[name] for name in METRICS}
