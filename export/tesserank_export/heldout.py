"""Held-out evaluation: hide each user's last new item, rank the whole catalogue, see where it comes out.

A user's target is the last item that was new to them: an item met again is not news, so each counts at its first
occurrence. Two protocols say what is kept of a user's log, both to know them by and to fit on. *Plain* keeps all but
the events with the target, as papers do. *Strict* keeps what happened before the target's timestamp: what shares it,
the rest of a basket say, has not happened yet.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tesserank.errors import DataError
from tesserank_export.events import Events

PLAIN, STRICT = "plain", "strict"
PROTOCOLS = (PLAIN, STRICT)
MIN_DISTINCT_ITEMS = 3


@dataclass(frozen=True)
class HeldOut:
    """A log without its last items, and the N users to rank for."""

    train: Events  # positions of users and items as in the whole log
    users: NDArray[np.int32]  # [N] sampled users, ascending
    targets: NDArray[np.int32]  # [N] the item hidden from each
    histories: tuple[NDArray[np.int32], ...]  # N arrays: the distinct items known of them, oldest first
    places: tuple[NDArray[np.int64], ...]  # N arrays: events of the whole log, those items' first and then the target's
    hidden: int  # users with a hidden item, sampled or not
    eligible: int  # those of them of whom enough is known to rank for them

    @property
    def digest(self) -> str:
        """A hash of ``train``: of what may be fitted on, by position of user and item, and time."""
        content = hashlib.sha256()
        for column in (self.train.user, self.train.item, self.train.timestamp):
            content.update(column.tobytes())
        return content.hexdigest()


def hold_out_last(events: Events, max_users: int, seed: int, protocol: str = PLAIN) -> HeldOut:
    """Hide the last new item of *every* user with at least three distinct items; sample ``max_users`` of them.

    Ranked for are users of whom the protocol keeps three distinct items, the target among them. Every event of a user
    with the hidden item leaves ``train``.

    Raises DataError if the protocol is strict and the log has no timestamps.
    """
    if protocol == STRICT and not events.has_times:
        raise DataError("the strict protocol needs timestamps, which this log lacks")
    keep = np.ones(len(events), dtype=np.bool_)
    hidden = 0
    cases: list[tuple[int, NDArray[np.int64]]] = []
    for user, history in enumerate(events.histories()):
        first = first_occurrences(history)
        if len(first) < MIN_DISTINCT_ITEMS:
            continue
        hidden += 1
        own = slice(events.offsets[user], events.offsets[user + 1])
        if protocol == STRICT:
            earlier = events.timestamp[own] < events.timestamp[own][first[-1]]
            keep[own] = earlier
            first = first[earlier[first] | (first == first[-1])]
        else:
            keep[own] = history != history[first[-1]]
        if len(first) >= MIN_DISTINCT_ITEMS:
            cases.append((user, own.start + first))
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.permutation(len(cases))[:max_users])
    chosen = [cases[index] for index in sample]
    return HeldOut(
        train=events.subset(keep),
        users=np.array([user for user, _ in chosen], dtype=np.int32),
        targets=np.array([events.item[places[-1]] for _, places in chosen], dtype=np.int32),
        histories=tuple(events.item[places[:-1]] for _, places in chosen),
        places=tuple(places for _, places in chosen),
        hidden=hidden,
        eligible=len(cases),
    )


def first_occurrences(history: NDArray[np.int32]) -> NDArray[np.int64]:
    """Where each item of a history comes first, ascending."""
    _, first = np.unique(history, return_index=True)
    return np.sort(first)


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


def mrr_at_k(better: NDArray[np.int64], tied: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """Reciprocal rank of one relevant item, 0 beyond k, in expectation over its tie: [N], [N] → [N]."""
    return _expected_gain(1.0 / np.arange(1, k + 1), better, tied)


def _expected_gain(
    gains: NDArray[np.float64], better: NDArray[np.int64], tied: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean gain of the ranks better … better + tied - 1 (0-based); ranks beyond ``gains`` gain nothing."""
    total = np.concatenate([[0.0], np.cumsum(gains)])
    last = len(gains)
    mean: NDArray[np.float64] = (total[np.minimum(better + tied, last)] - total[np.minimum(better, last)]) / tied
    return mean
