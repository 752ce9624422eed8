"""What MaxSim is asked to do: users' segments and the vectors of items, drawn at random or taken from an index."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.maxsim import reference
from tesserank.maxsim.ragged import Ragged
from tesserank_bench.kernels.plan import TOP, Shape

WORDS = 2_000  # that random token vectors are scattered around
ROUNDING = 1e-9  # of float64 scores; equal vectors may be summed in another order
SPREAD = 0.7  # length of a token's difference from its word: a cosine of 0.8 with it, as in all-MiniLM-L6-v2


@dataclass(frozen=True)
class Task:
    """``queries`` float32 [U, K, L, d], unit vectors: K segments of L tokens of U users; ``items`` float32, N items.

    A segment's score with an item is the mean over its tokens of the largest inner product with the item's tokens: the
    sum, which others compute, divided by L.
    """

    queries: NDArray[np.float32]
    items: Ragged

    @property
    def users(self) -> int:
        """U."""
        return len(self.queries)

    @property
    def operations(self) -> int:
        """Multiplications and additions for one user: 2·K·L·T·d, of T tokens of items; maxima are not counted."""
        _, segments, tokens, dim = self.queries.shape
        return 2 * segments * tokens * len(self.items.vectors) * dim

    def flat(self, user: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """A user's tokens [K·L, d], their weights and where each segment starts, as ``unit_scores`` takes them."""
        _, segments, tokens, dim = self.queries.shape
        weights = np.full(segments * tokens, 1 / tokens, dtype=np.float32)
        return self.queries[user].reshape(-1, dim), weights, np.arange(0, segments * tokens, tokens)

    def reference(self, user: int) -> NDArray[np.float64]:
        """Scores [N, K] in float64, item by item."""
        return reference.unit_scores(*self.flat(user), self.items)

    def first(self, items: int | None) -> Task:
        """The same users and only the first items; None is all of them."""
        return self if items is None else Task(self.queries, self.items.take(np.arange(min(items, len(self.items)))))

    def save(self, path: Path) -> None:
        """Write to a file of its own."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, queries=self.queries, vectors=self.items.vectors, offsets=self.items.offsets)

    @staticmethod
    def load(path: Path) -> Task:
        """Read what ``save`` wrote."""
        with np.load(path) as arrays:
            return Task(arrays["queries"], Ragged(arrays["vectors"], arrays["offsets"]))


def draw(shape: Shape, users: int, seed: int) -> Task:
    """Random tokens around the vectors of WORDS words, frequent and rare ones, as texts have them.

    Independent directions would make every item as good as the next, and agreement on the ten best would mean little.
    Items have from one token up to twice the average.
    """
    rng = np.random.default_rng(seed)
    words = rng.standard_normal((WORDS, shape.dim), dtype=np.float32)
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    frequency = 1 / np.arange(10, WORDS + 10)
    cumulative = np.cumsum(frequency / frequency.sum())

    def tokens(count: int) -> NDArray[np.float32]:
        chosen = words[np.minimum(np.searchsorted(cumulative, rng.random(count)), WORDS - 1)]
        noise = rng.standard_normal(chosen.shape, dtype=np.float32) * np.float32(SPREAD / np.sqrt(shape.dim))
        made: NDArray[np.float32] = chosen + noise
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        return made

    lengths = rng.integers(1, 2 * shape.item_tokens, size=shape.items)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    queries = tokens(users * shape.segments * shape.tokens)
    sizes = (users, shape.segments, shape.tokens, shape.dim)
    return Task(queries.reshape(sizes), Ragged(tokens(int(offsets[-1])), offsets))


def top_items(scores: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """The TOP best items of each segment, scores [N, K] -> [K, TOP], best first."""
    top = min(TOP, len(scores))
    best = np.argpartition(-scores, top - 1, axis=0)[:top]
    order = np.argsort(-np.take_along_axis(scores, best, axis=0), axis=0, kind="stable")
    ranked: NDArray[np.int64] = np.take_along_axis(best, order, axis=0).T
    return ranked


def recall(found: NDArray[np.int64], scores: NDArray[np.float64]) -> float:
    """Share of each segment's TOP best items that ``found`` [K, TOP] has (-1: nothing), by exact ``scores`` [N, K].

    Whatever scores as well as the last of them counts as one of them: catalogues hold equal items.
    """
    top = min(TOP, len(scores))
    thresholds = np.partition(scores, len(scores) - top, axis=0)[len(scores) - top] - ROUNDING
    hits = 0
    for segment, rows in enumerate(found[:, :top]):
        known = np.unique(rows[rows >= 0])
        hits += int((scores[known, segment] >= thresholds[segment]).sum())
    return hits / (top * len(found))
