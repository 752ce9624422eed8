"""What compact vectors spend their bytes on: which kinds of token get a mean of their own, and how many bits each gets.

Both follow from one estimate. A cell of n tokens with a residual of energy E, the weighted sum of its squares, has an
error of E · 2 ** -2b at b bits a dimension (Gersho and Gray, Vector Quantization and Signal Compression, 1992, eq.
8.3.4, but for a factor that is the same everywhere). Each byte goes where it lowers the sum of errors most; and a mean,
which costs d bytes, is worth having if it lowers the sum more than it would as codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tesserank.maxsim.compact import (
    CODES,
    HIGHEST_GRADE,
    LOWEST_GRADE,
    MULTIPLE,
    QUARTERS,
    WIDTHS,
    padded,
)

# In a small catalogue books and what goes by token id take most of the budget. Where they leave codes fewer bits a
# dimension than the first, the budget is exceeded: codes get the second, as its bytes are few and its answers count.
_LEAST_BITS, _SMALL_CATALOGUE_BITS = 3, 4
_COMMON = tuple(2**n for n in range(1, 32))  # how many tokens a label has at least that gets a cell of its own
_MAX_CELLS = 1 << 16  # they are stored as uint16
_SHARED, _OWN = 1, 2  # cell 0 is that of zero vectors, 1 of labels without one of their own; 2 and on are of a label


@dataclass(frozen=True)
class Cells:
    """``of`` int64 [T], the cell of each token; of cells: ``means`` float32 [C, d] and ``grades`` uint8 [C]."""

    of: NDArray[np.int64]
    means: NDArray[np.float32]
    grades: NDArray[np.uint8]


def choose_cells(
    rows: NDArray[np.float32], labels: NDArray[np.int64], importance: NDArray[np.float32], budget: int
) -> Cells:
    """Cells of ``rows`` [T, d], of length 1 or 0, with ``labels`` [T] and ``importance`` [T] > 0 of their errors.

    ``budget``: bytes that means, books and codes may take.
    """
    known = rows.any(axis=1)
    kinds = _Kinds.of_tokens(rows[known], labels[known], importance[known])
    plan = min(_plans(kinds, errors_of_grades(kinds.variances), budget), key=lambda plan: plan.error)
    of = np.zeros(len(rows), dtype=np.int64)
    of[known] = plan.cells[kinds.of]
    return Cells(of, plan.means, plan.grades)


@dataclass(frozen=True)
class _Kinds:
    """Tokens by label: ``of`` int64 [T]; of each of L labels ``counts`` [L], ``sums`` [L, d] and mean ``importance``
    [L]; ``variances`` [d], of tokens about their label's mean, by importance."""

    of: NDArray[np.int64]
    counts: NDArray[np.int64]
    sums: NDArray[np.float64]
    importance: NDArray[np.float64]
    variances: NDArray[np.float64]

    @staticmethod
    def of_tokens(rows: NDArray[np.float32], labels: NDArray[np.int64], importance: NDArray[np.float32]) -> _Kinds:
        _, of, counts = np.unique(labels, return_inverse=True, return_counts=True)
        sums = _sums(rows, of, counts)
        means = (sums / counts[:, None]).astype(np.float32)
        variances = ((rows - means[of]) ** 2 * importance[:, None]).sum(axis=0, dtype=np.float64)
        return _Kinds(of, counts, sums, np.bincount(of, importance, len(counts)) / counts, variances)


def _sums(rows: NDArray[np.float32], of: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums of the rows of each label; each has one at least."""
    if not len(rows):
        return np.zeros((0, rows.shape[1]))
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.add.reduceat(rows[np.argsort(of, kind="stable")], starts, axis=0, dtype=np.float64)


@dataclass(frozen=True)
class _Plan:
    """``cells`` int64 [L] of labels; ``means`` and ``grades`` as of ``Cells``; ``error`` that is expected."""

    cells: NDArray[np.int64]
    means: NDArray[np.float32]
    grades: NDArray[np.uint8]
    error: float


def _plans(kinds: _Kinds, errors: NDArray[np.float64], budget: int) -> list[_Plan]:
    """What fits the budget; ``errors`` by grade."""
    width, tokens = padded(kinds.sums.shape[1]), int(kinds.counts.sum())
    steps_and_order = 2 * (len(WIDTHS) + 1) + 2  # int16, of a dimension
    books = (len(WIDTHS) * CODES + steps_and_order) * width
    a_cell = width + 4 + 1  # mean, spread and grade
    fixed = books + a_cell * _OWN
    if budget - fixed < _LEAST_BITS * width * tokens // 8:
        budget = fixed + _SMALL_CATALOGUE_BITS * width * tokens // 8
    plans = []
    for common in _COMMON:
        own = kinds.counts >= common
        cells = _OWN + int(own.sum())
        left = budget - books - a_cell * cells
        if cells <= _MAX_CELLS and left >= tokens * width * LOWEST_GRADE // MULTIPLE:
            plans.append(_plan(kinds, own, errors, left))
        if not own.any():
            break
    return plans


def _plan(kinds: _Kinds, own: NDArray[np.bool_], errors: NDArray[np.float64], budget: int) -> _Plan:
    """Labels with a cell of their ``own`` [L]; ``budget`` is for codes."""
    cells = np.full(len(own), _SHARED)
    cells[own] = _OWN + np.arange(own.sum())
    count = _OWN + int(own.sum())
    tokens: NDArray[np.int64] = np.bincount(cells, kinds.counts, count).astype(np.int64)
    means = np.zeros((count, kinds.sums.shape[1]))
    np.add.at(means, cells, kinds.sums)
    means /= np.maximum(tokens, 1)[:, None]
    near = means[cells]  # |x - m|² = 1 - 2·x·m + |m|²
    energy = kinds.counts * (1 + (near**2).sum(axis=1)) - 2 * (near * kinds.sums).sum(axis=1)
    energies: NDArray[np.float64] = np.bincount(cells, energy * kinds.importance, count).astype(np.float64)
    grades, error = choose_grades(energies, tokens * (padded(means.shape[1]) // MULTIPLE), errors, budget)
    return _Plan(cells, means.astype(np.float32), grades, error)


def errors_of_grades(variances: NDArray[np.float64]) -> NDArray[np.float64]:
    """What share of a residual's energy each grade leaves as error, float64 [HIGHEST_GRADE + 1]; 1 below LOWEST_GRADE.

    ``variances`` [d]: of residuals, whatever their scale; zeros, and all is error that can be.
    """
    padding = padded(len(variances)) - len(variances)
    quarters = np.concatenate([np.sort(variances)[::-1], np.zeros(padding)]).reshape(QUARTERS, -1).sum(axis=1)
    shares = quarters / quarters.sum() if quarters.sum() > 0 else np.full(QUARTERS, 1 / QUARTERS)
    errors = np.ones(HIGHEST_GRADE + 1)
    for grade in range(LOWEST_GRADE, HIGHEST_GRADE + 1):
        bits = 2 * ((grade - np.arange(QUARTERS) + QUARTERS - 1) // QUARTERS)
        errors[grade] = (shares * 4.0**-bits).sum()
    return errors


def choose_grades(
    energies: NDArray[np.float64], bytes_a_grade: NDArray[np.int64], errors: NDArray[np.float64], budget: int
) -> tuple[NDArray[np.uint8], float]:
    """Grades uint8 [C] of cells, 0 where a cell has no bytes, and the error to expect.

    ``energies`` [C]; ``bytes_a_grade`` [C]: what a grade more costs a cell; ``errors`` by grade. The best steps, in
    error by byte, are taken while ``budget`` lasts; one that is too large for it is left, with those above it.
    """
    grades = np.where(bytes_a_grade > 0, LOWEST_GRADE, 0).astype(np.uint8)
    left = budget - int(bytes_a_grade.sum()) * LOWEST_GRADE
    used = np.flatnonzero(bytes_a_grade > 0)
    steps = np.arange(LOWEST_GRADE, HIGHEST_GRADE)
    gains = (energies[used] / bytes_a_grade[used])[:, None] * -np.diff(errors)[steps]
    for step in np.argsort(-gains, axis=None, kind="stable"):
        cell, grade = used[step // len(steps)], steps[step % len(steps)]
        if grades[cell] == grade and bytes_a_grade[cell] <= left:
            grades[cell] += 1
            left -= int(bytes_a_grade[cell])
    return grades, float((energies * errors[grades]).sum())
