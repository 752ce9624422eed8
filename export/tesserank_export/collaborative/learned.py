"""The spaces that are learned from events, by name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tesserank.segments.config import LearnedConfig
from tesserank_export.collaborative.ease import fit_ease
from tesserank_export.collaborative.popularity import fit_popularity
from tesserank_export.collaborative.selection import METHODS
from tesserank_export.collaborative.transitions import fit_transitions
from tesserank_export.collaborative.trend import fit_trend
from tesserank_export.events import Events


@dataclass(frozen=True)
class Learned:
    """``items`` float32 [n, d], one vector an item; ``queries`` [n, d], its vector as a segment; None: the same.

    With ``moments`` int64 [D], ``queries`` [D, d] are those of moments: see ``tesserank.index.Space``.
    """

    items: NDArray[np.float32]
    queries: NDArray[np.float32] | None = None
    moments: NDArray[np.int64] | None = None


def learn(name: str, events: Events, n_items: int, settings: LearnedConfig, seed: int) -> Learned:
    """Learn a space of ``LEARNED_SPACES`` but ``collaborative``, which is one of the others: see ``selection``.

    ``settings.dim`` is above 0.
    """
    if name == "transitions":
        return Learned(*fit_transitions(events, n_items, settings.dim, settings.penalty, seed))
    if name == "ease":
        return Learned(*fit_ease(events, n_items, settings.dim, settings.penalty, seed))
    if name == "popularity":
        return Learned(*fit_popularity(events, n_items, settings.half_life_s))
    if name == "trend":
        return Learned(*fit_trend(events, n_items, settings.dim, settings.half_life_s))
    return Learned(METHODS[name](events, n_items, settings.dim, seed))
