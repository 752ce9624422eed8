"""Choosing a baseline's settings as ``tesserank fit`` does: on items held out of what is fitted on, by the protocol."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from tesserank_evaluation.baselines.newest import Newest
from tesserank_evaluation.metrics import gains
from tesserank_evaluation.ranking import rank
from tesserank_evaluation.recommender import Recommender, Training
from tesserank_evaluation.split import Cases, make_cases
from tesserank_export.heldout import hold_out_last

CHECK_USERS = 1_000
NEWEST = (None, 50, 10, 5, 2, 1)  # items of a history that a candidate is asked with; None: all
_CHECKED_BY = "ndcg@10"


def best_of(candidates: Sequence[Callable[[Training], Recommender]], training: Training) -> Newest:
    """The candidate, and how many of a history's items it is best asked with, fitted on all of the training log.

    They are chosen by how they rank the last new items of that log. Those are, for users who are evaluated, the items
    before their target: the target itself has left the log already. Where no user has three items left, the first
    candidate serves, asked with all. A candidate that cannot be fitted (ArithmeticError) is not chosen beside another.
    """
    if not hold_out_last(training.events, 0, training.seed, training.protocol).eligible:
        return Newest(candidates[0](training), None)
    cases = make_cases(training.events, CHECK_USERS, training.seed, training.protocol)
    inner = replace(training, events=cases.held.train)
    found = [figure for candidate in candidates for figure in _figures(candidate, inner, cases)]
    candidate, newest = list(itertools.product(candidates, NEWEST))[found.index(max(found))]
    return Newest(candidate(training), newest)


def _figures(candidate: Callable[[Training], Recommender], inner: Training, cases: Cases) -> list[float]:
    """How it ranks, asked with each of NEWEST: figures, and not the model, as two of them may not fit into memory."""
    try:
        fitted = candidate(inner)
    except ArithmeticError:  # a penalty that is too small for this log
        return [-math.inf] * len(NEWEST)
    return [checked(Newest(fitted, newest), cases, inner.n_items) for newest in NEWEST]


def checked(recommender: Recommender, cases: Cases, n_items: int) -> float:
    """NDCG@10 of the cases' targets, by which settings are chosen."""
    ranked = rank(recommender, cases, n_items, lambda count: None)
    return float(gains(ranked.better, ranked.tied)[_CHECKED_BY].mean())
