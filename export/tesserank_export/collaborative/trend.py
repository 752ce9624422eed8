"""What is asked for at the moment: how often an item was met lately, less what it is met anyway, as a space of its own.

Before a moment t, an item's decayed count c_i(t) has an event weigh ½ for every half-life that it is older, and n_i(t)
counts all. What is more popular than it uses to be is

    M_ti = log(1 + c_i(t)) − ½ log(1 + n_i(t))   =   log of  (1 + c_i) / √(1 + n_i)

which divides popularity by the root of the degree, as ``factorisation`` divides a user-item matrix. Moments lie a
quarter of a half-life apart. The truncated SVD of M gives each moment a vector, which is the segment of whoever asks
then, and each item one. Nothing of a moment's row is later than the moment; the components are of the whole log.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tesserank_export.collaborative.frequent import most_met
from tesserank_export.events import Events

HALF_LIFE_S = 7 * 24 * 3600
MOST_MOMENTS = 512  # further apart in longer logs
_MOMENTS_A_HALF_LIFE = 4

Matrix = NDArray[np.float32]


def fit_trend(events: Events, n_items: int, dim: int, half_life_s: int) -> tuple[Matrix, Matrix, NDArray[np.int64]]:
    """Vectors of items float32 [n_items, dim] and of D moments [D, dim], and these int64 [D] in Unix seconds.

    ``half_life_s`` 0: a week. Items without events have a zero vector, which says that they are neither up nor down;
    so have all but the most met: see ``frequent``.
    """
    half_life_s = half_life_s or HALF_LIFE_S
    moments = moments_of(events, half_life_s)
    items = np.zeros((n_items, dim), dtype=np.float32)
    queries = np.zeros((len(moments), dim), dtype=np.float32)
    chosen = most_met(events, n_items, "trend")
    if len(chosen):
        trend = trends(_of_items(events, chosen, n_items), len(chosen), moments, half_life_s)
        left, singular, right = np.linalg.svd(trend, full_matrices=False)
        rank = min(dim, len(singular))
        root = np.sqrt(singular[:rank])
        queries[:, :rank] = left[:, :rank] * root
        items[chosen, :rank] = right[:rank].T * root
    return items, queries, moments


def _of_items(events: Events, chosen: NDArray[np.int64], n_items: int) -> Events:
    """The events with the ``chosen`` items, which are numbered by their places among them."""
    places = np.full(n_items, -1, dtype=np.int32)
    places[chosen] = np.arange(len(chosen))
    kept = events.subset(places[events.item] >= 0)
    return replace(kept, item=places[kept.item])


def moments_of(events: Events, half_life_s: int) -> NDArray[np.int64]:
    """From the oldest event on, int64 [D]; the last is the second after the newest event: it knows all of them."""
    if not len(events):
        return np.zeros(1, dtype=np.int64)
    first, last = int(events.timestamp.min()), int(events.timestamp.max())
    step = max(half_life_s // _MOMENTS_A_HALF_LIFE, -(-(last - first + 1) // (MOST_MOMENTS - 1)), 1)
    return np.append(np.arange(first, last + 1, step), last + 1)


def trends(events: Events, n_items: int, moments: NDArray[np.int64], half_life_s: int) -> Matrix:
    """M, float32 [D, n_items], of the events before each of the ``moments``."""
    in_time = np.argsort(events.timestamp, kind="stable")
    timestamps, met = events.timestamp[in_time], events.item[in_time]
    ends = np.searchsorted(timestamps, moments, side="left")
    lately, ever = np.zeros(n_items), np.zeros(n_items)
    found = np.empty((len(moments), n_items), dtype=np.float32)
    begin, before = 0, int(moments[0])
    for row, (moment, end) in enumerate(zip(moments.tolist(), ends.tolist(), strict=True)):
        new, ages = met[begin:end], moment - timestamps[begin:end]
        lately *= 0.5 ** ((moment - before) / half_life_s)
        lately += np.bincount(new, weights=0.5 ** (ages / half_life_s), minlength=n_items)
        ever += np.bincount(new, minlength=n_items)
        found[row] = np.log1p(lately) - 0.5 * np.log1p(ever)
        begin, before = end, moment
    return found
