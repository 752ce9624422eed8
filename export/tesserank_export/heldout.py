"""Held-out evaluation: hide each user's last new item, rank the whole catalogue, see where it comes out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tesserank_export.events import Events

MIN_DISTINCT_ITEMS = 3


@dataclass(frozen=True)
class HeldOut:
    """A log without its last items, and the users to rank for."""

    train: Events  # positions of users and items as in the whole log
    users: NDArray[np.int32]  # [N] sampled users, ascending
    targets: NDArray[np.int32]  # [N] the item hidden from each
    histories: tuple[NDArray[np.int32], ...]  # N arrays: the distinct items before the target, oldest first


def hold_out_last(events: Events, max_users: int, seed: int) -> HeldOut:
    """Hide the last new item of *every* user with at least three distinct items; sample ``max_users`` of them.

    First occurrences count: an item met again is not news. Every event of a user with the hidden item leaves ``train``.
    """
    keep = np.ones(len(events), dtype=np.bool_)
    cases: list[tuple[int, NDArray[np.int32]]] = []
    for user, history in enumerate(events.histories()):
        distinct = distinct_in_order(history)
        if len(distinct) < MIN_DISTINCT_ITEMS:
            continue
        start, end = events.offsets[user], events.offsets[user + 1]
        keep[start:end] = history != distinct[-1]
        cases.append((user, distinct))
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.permutation(len(cases))[:max_users])
    chosen = [cases[index] for index in sample]
    return HeldOut(
        train=events.subset(keep),
        users=np.array([user for user, _ in chosen], dtype=np.int32),
        targets=np.array([distinct[-1] for _, distinct in chosen], dtype=np.int32),
        histories=tuple(distinct[:-1] for _, distinct in chosen),
    )


def distinct_in_order(history: NDArray[np.int32]) -> NDArray[np.int32]:
    """The items of a history, each at its first occurrence."""
    _, first = np.unique(history, return_index=True)
    return history[np.sort(first)]


def target_ranks(
    scores: NDArray[np.float32], targets: NDArray[np.int32], histories: tuple[NDArray[np.int32], ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """scores [N, items], targets [N] → items strictly better, and items tied (the target among them), each [N].

    The items of a user's history take no part. Scores must be finite.
    """
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite: a NaN compares as neither better nor worse and would rank first")
    rows = np.arange(len(targets))
    own = scores[rows, targets][:, None]
    better, tied = scores > own, scores == own
    for row, history in enumerate(histories):
        better[row, history] = tied[row, history] = False
    tied[rows, targets] = True
    return better.sum(axis=1), tied.sum(axis=1)


def ndcg_at_k(better: NDArray[np.int64], tied: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """NDCG@k of one relevant item, in expectation over its tie: [N], [N] → [N].

    Among t tied items the target is equally likely at each of the ranks better + 1 … better + t.
    """
    return _expected_gain(1.0 / np.log2(np.arange(2, k + 2)), better, tied)


def recall_at_k(better: NDArray[np.int64], tied: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """Recall@k of one relevant item, in expectation over its tie: [N], [N] → [N]."""
    return _expected_gain(np.ones(k), better, tied)


def _expected_gain(
    gains: NDArray[np.float64], better: NDArray[np.int64], tied: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean gain of the ranks better … better + tied - 1 (0-based); ranks beyond ``gains`` gain nothing."""
    total = np.concatenate([[0.0], np.cumsum(gains)])
    last = len(gains)
    mean: NDArray[np.float64] = (total[np.minimum(better + tied, last)] - total[np.minimum(better, last)]) / tied
    return mean
