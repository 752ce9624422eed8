"""Fitting compact vectors (``tesserank.maxsim.compact``) to the vectors of a space.

Which errors matter decides what the bytes are spent on. A score adds up inner products of a segment's tokens, each
times its weight, with the item tokens that are most like them. So an error counts by the square of the weight of its
kind of token: rare words, which no mean describes and which weigh most, get 6 bits a dimension, and what stands in
every text ("and", "genres:") gets 2.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.maxsim.compact import (
    ALL_PAIRS,
    CODES,
    FOURS,
    LOWEST_GRADE,
    MARK_EVERY,
    MULTIPLE,
    PAIRS,
    QUARTERS,
    REST,
    UNIT,
    WIDTHS,
    CompactVectors,
    marks_of,
    padded,
)
from tesserank.maxsim.ragged import Ragged
from tesserank_export.codebook import fit_codebook, nearest
from tesserank_export.compact_cells import choose_cells

SHARE = 1 / 8  # of the bytes of float32 vectors, for the whole space
_LIGHT = 0.1  # of the mean squared weight: counts for every token, as tokens of no weight are met by others
_TRAINING = 60_000  # vectors that a book is fitted to
_NEAR, _FAR = 0.02, 7.0  # the least spread of a cell; the largest component of a residual, in spreads (int16 holds two)
_LENGTH = 0.01  # how far a vector's length may be from 1
_FILES = 14  # that the index stores of a text space, token ids and their weights included
_HEADER = 128  # bytes of a .npy file's


def fit(
    vectors: Ragged,
    weights: NDArray[np.float32],
    labels: NDArray[np.int64],
    seed: int,
    vocabulary: int = 0,
    share: float = SHARE,
) -> CompactVectors:
    """Compact vectors of ``vectors``, float [T, d], each of length 1 or zero.

    ``weights`` [T] >= 0: how much each counts when its item is a segment. ``labels`` [T] >= 0: what kind of token each
    is, as its token id. ``share`` of the bytes of float32 vectors is what these take with all that the index stores
    beside them, if the labels are token ids below ``vocabulary``; a catalogue too small for that takes what its quality
    needs (see ``compact_cells``). Raises ValueError if a vector is of another length.
    """
    rows = _checked(vectors.vectors)
    importance = _importance(weights)
    budget = int(share * 4 * rows.size) - _beside(labels, len(vectors), vocabulary)
    cells = choose_cells(rows, labels, importance, budget)
    residuals = rows - cells.means[cells.of]
    spreads = _spreads(residuals, cells.of, len(cells.means))
    order = _quartered(((residuals / spreads[cells.of, None]) ** 2 * importance[:, None]).sum(axis=0))
    means, mean_steps = _whole(_arranged(cells.means, order)[None])
    residuals = _arranged(rows, order) - (means[0] * (mean_steps / np.float32(UNIT)))[cells.of]
    residuals = np.clip(residuals / spreads[cells.of, None], -_FAR, _FAR)
    coder = _Coder(residuals, importance * spreads[cells.of] ** 2, cells.grades[cells.of], seed)
    return CompactVectors(
        codes=coder.codes,
        marks=marks_of(coder.begins),
        cells=cells.of.astype(np.uint16),
        means=means[0],
        spreads=spreads,
        grades=cells.grades,
        books=coder.books,
        steps=np.concatenate([coder.steps, mean_steps[None]]),
        order=order.astype(np.int16),
        offsets=vectors.offsets,
    )


class _Coder:
    """Books fitted to residuals [T, D], each to the tokens whose codes point into it, and these codes."""

    def __init__(
        self, residuals: NDArray[np.float32], importance: NDArray[np.float32], grades: NDArray[np.uint8], seed: int
    ) -> None:
        width = residuals.shape[1]
        self.begins = np.concatenate([[0], np.cumsum(grades.astype(np.int64) * (width // MULTIPLE))])
        self.codes = np.empty(self.begins[-1], dtype=np.uint8)
        self.books = np.zeros((len(WIDTHS), CODES * width), dtype=np.int8)
        self.steps = np.ones((len(WIDTHS), width), dtype=np.int16)
        self._residuals, self._importance, self._grades = residuals, importance, grades.astype(np.int64)
        self._rng = np.random.default_rng(seed)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for quarter in range(QUARTERS):
                self._code_quarter(pool, quarter)

    def _code_quarter(self, pool: ThreadPoolExecutor, quarter: int) -> None:
        width = self._residuals.shape[1]
        size = width // QUARTERS
        in_pairs = np.clip(self._grades - LOWEST_GRADE, 0, QUARTERS) * size
        columns = slice(quarter * size, (quarter + 1) * size)

        chosen = np.flatnonzero(in_pairs > columns.start)
        begins = self.begins[chosen] + columns.start // 2
        left = self._code(pool, PAIRS, columns, chosen, self._residuals[chosen, columns], begins)

        deeper = np.flatnonzero(self._grades[chosen] > ALL_PAIRS + quarter)
        begins = self.begins[chosen[deeper]] + width // 2 + columns.start // 4
        self._code(pool, REST, columns, chosen[deeper], left[deeper], begins)

        chosen = np.flatnonzero((self._grades > 0) & (in_pairs <= columns.start))
        begins = self.begins[chosen] + in_pairs[chosen] // 2 + (columns.start - in_pairs[chosen]) // 4
        self._code(pool, FOURS, columns, chosen, self._residuals[chosen, columns], begins)

    def _code(
        self,
        pool: ThreadPoolExecutor,
        book: int,
        columns: slice,
        tokens: NDArray[np.int64],
        left: NDArray[np.float32],
        begins: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Fit the book's groups of ``columns`` to ``left`` [n, columns] of ``tokens`` [n], and code it; returns what is
        left then. ``begins`` [n]: where these codes go."""
        if not len(tokens):
            return left
        width = WIDTHS[book]
        groups = [np.ascontiguousarray(left[:, c : c + width]) for c in range(0, left.shape[1], width)]
        sample = self._rng.permutation(len(left))[:_TRAINING]
        importance = self._importance[tokens[sample]]

        def fit_group(group: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
            return fit_codebook(group[sample], importance, CODES, rng)

        pieces, steps = _whole(np.stack(list(pool.map(fit_group, groups, self._rng.spawn(len(groups))))))
        decoded = pieces * (steps.reshape(-1, 1, width) / np.float32(UNIT))
        codes = list(pool.map(nearest, groups, decoded))
        self.books[book].reshape(-1, CODES, width)[columns.start // width : columns.stop // width] = pieces
        self.steps[book, columns] = steps
        self.codes[begins[:, None] + np.arange(len(groups))] = np.stack(codes, axis=1)
        said = [own[code] for own, code in zip(decoded, codes, strict=True)]
        rest: NDArray[np.float32] = left - np.concatenate(said, axis=1)
        return rest


def _checked(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    rows = vectors.astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1)
    odd = np.flatnonzero(rows.any(axis=1) & ~(np.abs(lengths - 1) <= _LENGTH))
    if len(odd):
        raise ValueError(f"vector {odd[0]} is {lengths[odd[0]]:.3f} long: compact vectors have length 1, or are zero")
    return rows


def _beside(labels: NDArray[np.int64], items: int, vocabulary: int) -> int:
    """Bytes that the index stores beside cells' means, books and codes (see ``tesserank.index.storage``)."""
    vectors, vocabulary = len(labels), max(vocabulary, int(labels.max(initial=0)) + 1)
    token_ids = vectors * (2 if vocabulary <= 1 << 16 else 4)
    offsets = 2 * 4 * (items + 1)  # of vectors and of token ids
    cells_and_weights = 2 * 2 * min(vocabulary + 1, vectors)
    token_weights, marks = 4 * vocabulary, 4 * (vectors // MARK_EVERY + 1)
    return token_ids + offsets + cells_and_weights + token_weights + marks + _FILES * _HEADER


def _importance(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a squared error counts, token by token, float32 [T] above 0: between weight² and the same for all."""
    mean = float(weights.mean()) if len(weights) else 0.0
    importance = np.ones(len(weights), dtype=np.float32)
    if mean > 0:
        importance[:] = weights / mean + _LIGHT
    return importance


def _spreads(residuals: NDArray[np.float32], cells: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    """The root mean square length of residuals [T, d] in each cell, float32 [count]."""
    squares = np.bincount(cells, (residuals**2).sum(axis=1), count) / np.maximum(np.bincount(cells, minlength=count), 1)
    spreads: NDArray[np.float32] = np.maximum(np.sqrt(squares), _NEAR).astype(np.float32)
    return spreads


def _quartered(energies: NDArray[np.float32]) -> NDArray[np.int64]:
    """An order of the dimensions: quarters of D by ``energies`` [d], within which pairs, and fours, are alike.

    In a quarter, the k-th largest is paired with the k-th from the end; and of these pairs, by their products, the k-th
    with the k-th from the end. A quarter that D - d makes incomplete keeps its order.
    """
    by_energy = np.argsort(-energies, kind="stable")
    size = padded(len(energies)) // QUARTERS
    parts = [by_energy[begin : begin + size] for begin in range(0, len(by_energy), size)]
    return np.concatenate([_balanced(part, energies) if len(part) == size else part for part in parts])


def _balanced(dimensions: NDArray[np.int64], energies: NDArray[np.float32]) -> NDArray[np.int64]:
    pairs = _folded(dimensions[:, None])
    products = np.log(np.maximum(energies[pairs], 1e-30)).sum(axis=1)
    return _folded(pairs[np.argsort(-products, kind="stable")]).ravel()


def _folded(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """[2n, w] -> [n, 2w]: the k-th row beside the k-th from the end."""
    half = len(rows) // 2
    return np.concatenate([rows[:half], rows[half:][::-1]], axis=1)


def _arranged(rows: NDArray[np.float32], order: NDArray[np.int64]) -> NDArray[np.float32]:
    """Columns of ``rows`` [n, d] in the ``order``, and zeros up to D -> [n, D]."""
    arranged = np.zeros((len(rows), padded(len(order))), dtype=np.float32)
    arranged[:, : len(order)] = rows[:, order]
    return arranged


def _whole(values: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.int16]]:
    """``values`` [G, n, w] as int8 times steps int16 [G · w], in units of 1 / UNIT."""
    largest = np.abs(values).max(axis=1, initial=0).ravel() * UNIT
    steps = np.maximum(np.ceil(largest / 127), 1).astype(np.int16)
    whole = np.rint(values * UNIT / steps.reshape(len(values), 1, -1)).astype(np.int8)
    return whole, steps
