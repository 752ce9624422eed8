"""MaxSim of units with items whose vectors are centroids: which few hundred items of a catalogue to score exactly.

    u_ig ≈ Σ_{t in g} w_t · max_j max(<q_t, c_ij>, 0)        c_ij: the centroid of item i's j-th token vector

A similarity is looked up instead of computed: one row of a table an item token, of what its centroid says of every
query token. And it is rounded: it has 256 levels between 0 and the weight of its unit's heaviest token, so that eight
of them are added at once. Where a user has so many units that the table would outgrow the cache, each keeps its
heaviest tokens only, which weigh in the others' stead. ``reference.unit_scores`` on ``items.decode()`` is the same
without all this, but for negative maxima, which count as 0 here.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tesserank.maxsim.jit.arrays import frozen
from tesserank.search.centroids import CentroidVectors
from tesserank.search.scan import REGISTER, WORD, scan, to_levels
from tesserank.threads import share

LEVELS = 255  # the largest
# 128 slots: ten units keep their eight heaviest tokens each. Twice as many found no more among 500 proposed of 100,000
# items (recall@100 .998 both), and a table of 4,096 centroids is then half of what a core has of second cache, not all.
MAX_WORDS = 16
# Waking a thread takes about 50 µs, in which a core looks up some 20 thousand rows of a few registers.
_ROWS_WORTH_A_THREAD = 20_000
_CENTROIDS_AT_ONCE = 512  # their similarities to a query, 4 bytes a slot, stay in a core's cache


def unit_scores(
    tokens: NDArray[np.float32],
    token_weights: NDArray[np.float32],
    starts: NDArray[np.int64],
    items: CentroidVectors,
    rows: NDArray[np.int64] | None = None,
    pool: ThreadPoolExecutor | None = None,
) -> NDArray[np.float32]:
    """Scores of G units with the items of ``rows`` [n] (None: all) -> float32 [n, G], unit by unit in memory.

    ``tokens`` float32 [Q, d], ``token_weights`` float32 [Q] above 0 that add up to 1 in every unit, ``starts`` [G]
    strictly increasing from 0. An item's scores are the same whichever others are asked for, on however many threads.
    """
    slots = Slots.of(tokens, token_weights, starts)
    table = frozen(_table(items.centroids, slots.queries, pool), np.uint8)
    codes, offsets = frozen(items.codes, np.uint16), frozen(items.offsets, np.int64)
    words, steps = frozen(slots.words, np.int64), frozen(slots.steps, np.float32)
    count = len(items) if rows is None else len(rows)
    chosen = frozen(np.empty(0) if rows is None else rows, np.int64)
    scores = np.empty((len(starts), count), dtype=np.float32)

    def scan_range(begin: int, end: int) -> None:
        scan(table, codes, offsets, chosen, rows is None, begin, end, words, steps, scores)

    tokens_an_item = max(len(codes) // max(len(items), 1), 1)
    share(scan_range, count, _ROWS_WORTH_A_THREAD // tokens_an_item, pool)
    return scores.T


@dataclass(frozen=True)
class Slots:
    """A user's query tokens as the columns of a table: each unit has whole words of WORD slots, some of them empty."""

    queries: NDArray[np.float32]  # [W, d] a token times its weight in levels; 0 in an empty slot
    words: NDArray[np.int64]  # [G + 1] first word of each unit
    steps: NDArray[np.float32]  # [G] what a level is worth in a unit's score

    @staticmethod
    def of(tokens: NDArray[np.float32], weights: NDArray[np.float32], starts: NDArray[np.int64]) -> Slots:
        """Arguments as of ``unit_scores``. All units together get at most MAX_WORDS words, or one word each."""
        lengths = np.diff(starts, append=len(tokens))
        unit = np.repeat(np.arange(len(starts)), lengths)
        order = np.lexsort((-weights, unit))
        rank = np.arange(len(tokens)) - starts[unit]  # of the token at this place of the order, within its unit
        words = np.concatenate([[0], np.cumsum(_words(weights[order], unit, rank, len(starts)))])
        kept = rank < WORD * np.diff(words)[unit]
        chosen, unit, rank = order[kept], unit[kept], rank[kept]
        heaviest = weights[order[starts]]
        heard = np.bincount(unit, weights=weights[chosen], minlength=len(starts))
        queries = np.zeros((-(-words[-1] * WORD // REGISTER) * REGISTER, tokens.shape[1]), dtype=np.float32)
        queries[WORD * words[unit] + rank] = tokens[chosen] * (weights[chosen] / heaviest[unit] * LEVELS)[:, None]
        return Slots(queries, words, (heaviest / heard / LEVELS).astype(np.float32))


def _words(
    weights: NDArray[np.float32], unit: NDArray[np.int64], rank: NDArray[np.int64], units: int
) -> NDArray[np.int64]:
    """How many words each unit gets, [G]: one, and of those that are left the one whose tokens weigh most, and so on.

    ``weights``, ``unit`` and ``rank`` [Q] of tokens, unit by unit, heaviest first.
    """
    first = np.flatnonzero(rank % WORD == 0)  # a token that a word begins with
    worth = np.add.reduceat(weights, first)
    further = rank[first] > 0  # a unit's words are worth less and less, so none is taken before one that precedes it
    taken = np.argsort(-worth[further], kind="stable")[: max(MAX_WORDS - units, 0)]
    words: NDArray[np.int64] = 1 + np.bincount(unit[first[further][taken]], minlength=units)
    return words


def _table(
    centroids: NDArray[np.float32], queries: NDArray[np.float32], pool: ThreadPoolExecutor | None
) -> NDArray[np.uint8]:
    """What each centroid [C, d] says of each slot [W, d], in levels: uint8 [C, W]."""
    table = np.empty((len(centroids), len(queries)), dtype=np.uint8)

    def fill(begin: int, end: int) -> None:
        for first in range(begin, end, _CENTROIDS_AT_ONCE):
            rows = slice(first, min(first + _CENTROIDS_AT_ONCE, end))
            to_levels(centroids[rows] @ queries.T, table[rows])

    share(fill, len(table), _CENTROIDS_AT_ONCE, pool)
    return table
