"""Which embedding of the user-item matrix serves: each is fitted without the users' last items and ranks for them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from tesserank_export.collaborative.factorisation import fit_cooccurrence, fit_factorisation
from tesserank_export.collaborative.item2vec import fit_item2vec
from tesserank_export.events import Events
from tesserank_export.heldout import HeldOut, hold_out_last, ndcg_at_k, target_ranks

DEFAULT_DIM = 128
CHECK_USERS = 1_000
CHECK_TOP_K = 10
# How the check turns a history into a score; the defaults of a segments file's [history] table.
_LAST_ITEMS = 10
_RECENCY = 0.8
_SCORES_AT_ONCE = 2**24

Fit = Callable[[Events, int, int, int], NDArray[np.float32]]
Progress = Callable[[str, int, int], None]  # what is done now, steps done, steps in all

# In order of preference where the check sees no difference.
METHODS: Mapping[str, Fit] = MappingProxyType(
    {"factorisation": fit_factorisation, "cooccurrence": fit_cooccurrence, "item2vec": fit_item2vec}
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CollaborativeSpace:
    """``vectors`` float32 [items, dim], rows of unit length, zero for items without events."""

    vectors: NDArray[np.float32]
    method: str
    heldout: Mapping[str, float] = field(default_factory=dict)  # NDCG@10 of each method; empty without a check
    heldout_users: int = 0  # how many users the check ranked for


def fit_collaborative(
    events: Events, n_items: int, dim: int = DEFAULT_DIM, seed: int = 0, progress: Progress | None = None
) -> CollaborativeSpace:
    """Fit every method without each user's last item, keep the best by NDCG@10 of that item, refit it on all events.

    Users with fewer than three distinct items cannot be checked on; if there are no others, the factorisation serves.
    """
    report = progress or _silent
    steps = len(METHODS) + 1
    held = hold_out_last(events, CHECK_USERS, seed)
    scores: dict[str, float] = {}
    if len(held.users):
        for done, (name, fit) in enumerate(METHODS.items()):
            report(f"{name}, checked on {len(held.users):,} users", done, steps)
            scores[name] = next_item_ndcg(fit(held.train, n_items, dim, seed), held)
            logger.info("collaborative space by %s: held-out NDCG@%d %.4f", name, CHECK_TOP_K, scores[name])
    else:
        logger.warning("no user has three distinct items: the collaborative space goes without a held-out check")
    method = max(scores, key=scores.__getitem__) if scores else next(iter(METHODS))
    report(f"{method} on all {len(events):,} events", steps - 1, steps)
    vectors = METHODS[method](events, n_items, dim, seed)
    report(f"{method} on all {len(events):,} events", steps, steps)
    return CollaborativeSpace(vectors, method, scores, len(held.users))


def next_item_ndcg(vectors: NDArray[np.float32], held: HeldOut) -> float:
    """Mean NDCG@10 of the hidden items, the whole catalogue ranked: vectors [items, dim] with rows of unit length.

    An item's score is the sum of its cosines with the last 10 items of the history, the newest weighing 1 and each
    older one 0.8 times the one after it.
    """
    users_at_once = max(1, _SCORES_AT_ONCE // len(vectors))
    gains = []
    for start in range(0, len(held.users), users_at_once):
        batch = slice(start, start + users_at_once)
        queries = np.stack([_query(vectors, history) for history in held.histories[batch]])
        ranks = target_ranks(queries @ vectors.T, held.targets[batch], held.histories[batch])
        gains.append(ndcg_at_k(*ranks, k=CHECK_TOP_K))
    return float(np.concatenate(gains).mean())


def _query(vectors: NDArray[np.float32], history: NDArray[np.int32]) -> NDArray[np.float32]:
    newest_first = history[::-1][:_LAST_ITEMS]
    weights = np.power(_RECENCY, np.arange(len(newest_first)), dtype=np.float32)
    query: NDArray[np.float32] = weights @ vectors[newest_first]
    return query


def _silent(what: str, done: int, total: int) -> None:
    """Progress for nobody."""
