"""One evaluation: every contender under every protocol, what is found saved as it comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tesserank.artifact.layout import Layout
from tesserank_evaluation.artifact import HeldOutArtifact
from tesserank_evaluation.baselines import BASELINE_NAMES
from tesserank_evaluation.contenders import Contender, Outcome
from tesserank_evaluation.metrics import coverage, gains, mean_and_error
from tesserank_evaluation.paired import Ranks, best_of_all, difference
from tesserank_evaluation.slices import slices_of
from tesserank_evaluation.split import Cases

Result = dict[str, Any]


@dataclass(frozen=True)
class Round:
    """One protocol: whom to rank for, and the artefact that was exported for it."""

    cases: Cases
    artifact: HeldOutArtifact


def evaluate(
    rounds: Mapping[str, Round],
    contenders: Mapping[str, Contender],
    n_items: int,
    result: Result,
    ranks: Ranks,
    save: Callable[[], None],
    console: Console,
) -> None:
    """Fill ``result["protocols"]`` and ``ranks``. Calls ``save`` after every step.

    What both hold already is kept, if its contender has the same identity still.
    """
    for protocol, own in rounds.items():
        found = result["protocols"].setdefault(protocol, {"recommenders": {}, "against_best_baseline": None})
        found |= described(own, n_items)  # of the same artefact and users, so what an older file has is the same
        for name, contender in contenders.items():
            identity = dict(contender.identity(own.cases))
            if name in found["recommenders"] and (protocol, name) in ranks:
                before = found["recommenders"][name].get("identity", {})  # older files have none
                if before == identity:
                    console.print(f"  {protocol}, {name}: kept from before", highlight=False)
                    continue
                why = f"its figures are of {_said(before)}, now it is of {_said(identity)}"
                console.print(f"  {protocol}, {name}: ranked anew, as {why}", highlight=False)
            outcome = _rank(f"{protocol}, {name}", contender, own, console)
            ranks[protocol, name] = np.stack([outcome.ranked.better, outcome.ranked.tied])
            found["recommenders"][name] = entry = figures(outcome, own.cases, n_items) | {"identity": identity}
            ndcg, seconds = entry["metrics"]["ndcg@10"], entry["seconds"]
            took = f"{seconds['fit']:.1f} s to fit, {seconds['rank']:.1f} s to rank"
            console.print(f"  {protocol}, {name}: NDCG@10 {ndcg['mean']:.4f}; {took}", highlight=False)
            save()
        found["against_best_baseline"] = against_best_baseline(
            {name: own for (which, name), own in ranks.items() if which == protocol}
        )
        save()


def against_best_baseline(ranks: Mapping[str, NDArray[np.int64]]) -> Result | None:
    """The best baseline and how much better than it tesserank is, paired; None where there are not both."""
    baselines = {name: own for name, own in ranks.items() if name in BASELINE_NAMES}
    others = {name: own for name, own in ranks.items() if name not in BASELINE_NAMES}
    if not baselines or not others:
        return None
    best = best_of_all(baselines)
    return {"baseline": best, "difference": {name: difference(own, ranks[best]) for name, own in others.items()}}


def described(own: Round, n_items: int) -> Result:
    """What a protocol ranks for, and with which artefact."""
    cases = own.cases
    return {
        "users": len(cases),
        "eligible": cases.held.eligible,
        "too_little_known": cases.too_little_known,
        "train_events": len(cases.held.train),
        "same_time_share": round(float(cases.same_time.mean()), 4),
        "slices": {name: int(mask.sum()) for name, mask in slices_of(cases, n_items).items()},
        "segments": Layout(own.artifact.root).segments.read_text(encoding="utf-8"),
        "fit": own.artifact.manifest.provenance.get("fit"),
    }


def figures(outcome: Outcome, cases: Cases, n_items: int) -> Result:
    """Metrics of all users and of every slice, coverage, and what it took."""
    per_user = gains(outcome.ranked.better, outcome.ranked.tied)
    return {
        "metrics": {name: mean_and_error(values) for name, values in per_user.items()},
        "slices": {
            part: {name: mean_and_error(values[mask]) for name, values in per_user.items()}
            for part, mask in slices_of(cases, n_items).items()
            if mask.any()
        },
        "coverage": coverage(outcome.ranked.lists, n_items),
        "seconds": {"fit": round(outcome.fit_seconds, 2), "rank": round(outcome.ranked.seconds, 2)},
        "settings": dict(outcome.settings),
    }


def _said(identity: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in sorted(identity.items())) or "what they do not say"


def _rank(title: str, contender: Contender, own: Round, console: Console) -> Outcome:
    columns = TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task(title, total=len(own.cases))
        return contender.rank(own.cases, own.artifact, lambda count: progress.advance(task, count))
