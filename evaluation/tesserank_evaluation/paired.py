"""Differences between recommenders on the same users, and the ranks they are taken from, kept in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tesserank_evaluation.metrics import gains, mean_and_error

_BEST_BY = "ndcg@10"

Ranks = dict[tuple[str, str], NDArray[np.int64]]  # by protocol and recommender: [2, N], better and tied of ``Ranked``


def save_ranks(path: Path, ranks: Ranks) -> None:
    """Write an .npz of an array for every protocol and recommender."""
    arrays = {f"{protocol}/{name}": own for (protocol, name), own in ranks.items()}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load_ranks(path: Path) -> Ranks:
    """Read what ``save_ranks`` wrote; nothing where there is no file."""
    if not path.exists():
        return {}
    with np.load(path) as arrays:
        found = {key.partition("/"): arrays[key] for key in arrays.files}
    return {(protocol, name): own for (protocol, _, name), own in found.items()}


def best_of_all(ranks: Mapping[str, NDArray[np.int64]]) -> str:
    """The recommender of the highest mean NDCG@10; the first of equal ones."""
    means = {name: float(gains(*own)[_BEST_BY].mean()) for name, own in ranks.items()}
    return max(means, key=lambda name: means[name])


def difference(one: NDArray[np.int64], other: NDArray[np.int64]) -> dict[str, dict[str, float | None]]:
    """Every metric of ``one`` less that of ``other``, user by user: [2, N] each; mean and its standard error."""
    ours, theirs = gains(*one), gains(*other)
    return {name: mean_and_error(ours[name] - theirs[name]) for name in ours}
