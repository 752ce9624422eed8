"""Choosing a baseline's settings as ``tesserank fit`` does: on items held out of what is fitted on, by the protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from tesserank_evaluation.metrics import gains
from tesserank_evaluation.ranking import rank
from tesserank_evaluation.recommender import Recommender, Training
from tesserank_evaluation.split import make_cases
from tesserank_export.heldout import hold_out_last

CHECK_USERS = 1_000
_CHECKED_BY = "ndcg@10"

R = TypeVar("R", bound=Recommender)


def best_of(candidates: Sequence[Callable[[Training], R]], training: Training) -> R:
    """The candidate that ranks best for the last new items of the training log, fitted on all of that log.

    Those are, for users who are evaluated, the items before their target: the target itself has left the log already.
    Where no user has three items left, the first candidate serves.
    """
    if not hold_out_last(training.events, 0, training.seed, training.protocol).eligible:
        return candidates[0](training)
    cases = make_cases(training.events, CHECK_USERS, training.seed, training.protocol)
    inner = replace(training, events=cases.held.train)
    found = []
    for candidate in candidates:
        ranked = rank(candidate(inner), cases, training.n_items, lambda count: None)
        found.append(float(gains(ranked.better, ranked.tied)[_CHECKED_BY].mean()))
    return candidates[found.index(max(found))](training)
