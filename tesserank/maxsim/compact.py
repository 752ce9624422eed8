"""Token vectors of unit length in about an eighth of the bytes of float32. Zero vectors stay zero.

A vector is the mean of its *cell*, plus the cell's spread times what *books* say of its codes, scaled to unit length:

    cell   tokens that have something in common, as their token id; it has a mean, a spread and a grade
    grade  g stands for g·D/16 bytes of codes a token, g/2 bits a dimension on average; 0 leaves the mean alone
    book   for every 2 or 4 dimensions ("a group") 256 pieces of a vector, of which a code names one

Dimensions stand in four quarters, from those with the most variance to those with the least. From grade 4 to 12, one
quarter after the other goes from 2 bits a dimension to 4, then from 4 to 6:

    ========  =======================================================================
    fours     4 dimensions a code: what is not in pairs
    pairs     2 dimensions a code: the first g - 4 quarters
    rest      4 dimensions a code, of what pairs have left over: the first g - 8 quarters
    ========  =======================================================================

That is product quantisation (Jégou, Douze and Schmid, 2011, doi:10.1109/TPAMI.2010.57) of residuals, with as many bits
as a cell deserves. The length is not stored and not lost: a piece is the mean of all that it stands for, so decoded
vectors would come out short by what was lost, each by another amount, and scores with them. Scaling cancels that;
without it, this would be most of the error of a score.

D is d rounded up to a multiple of 16.

**Units.** Decoding is in whole numbers, for the kernel multiplies such: 1 is UNIT until the vector is put together, and
the vector comes out PEAK long. A book's piece is a whole number times a step, and stands for that many UNIT-ths of the
cell's spread; rounded to whole numbers once more, that is added to the mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tesserank.maxsim import jit
from tesserank.maxsim.ragged import Ragged, spans

if TYPE_CHECKING:
    from tesserank.maxsim.vectors import Rows

# Whole numbers to 1. Squares of a row of length 2 add up to 2 ** 24: float32 holds every sum on the way, in any order.
UNIT = 2048
PEAK = 2047  # length of a decoded row, so the largest |integer| too
CODES = 256  # pieces in a group of a book
PAIRS, FOURS, REST = range(3)  # the books
WIDTHS = (2, 4, 4)  # dimensions in a group of each book
QUARTERS = 4
LOWEST_GRADE, ALL_PAIRS, HIGHEST_GRADE = 4, 8, 12  # beside 0
MULTIPLE = 16  # of which D is one: a quarter is of whole fours
MARK_EVERY = 16  # tokens between two marks


@dataclass(frozen=True)
class CompactVectors:
    """T vectors of d dimensions, of N items, in C cells.

    * ``codes`` uint8: token after token, of each the pairs, the fours and the rest;
    * ``marks`` uint32 or int64 [1 + T / MARK_EVERY]: where in ``codes`` those of every MARK_EVERY-th token begin (a
      token has as many as its cell's grade says, so the others follow);
    * ``cells`` uint16 [T], and of cells: ``means`` int8 [C, D], times steps[3]: UNIT-ths of 1; ``spreads`` float32 [C];
      ``grades`` uint8 [C];
    * ``books`` int8 [3, CODES · D], of each [D / width, CODES, width], times steps[book]: UNIT-ths of a spread;
    * ``steps`` int16 [4, D], a step for each dimension of each book and of the means;
    * ``order`` int16 [d]: place k of all of the above is dimension order[k]; places from d on hold zeros;
    * ``offsets`` int64 [N + 1]: the first token of each item.

    Raises ValueError if they do not fit together.
    """

    codes: NDArray[np.uint8]
    marks: NDArray[Any]
    cells: NDArray[np.uint16]
    means: NDArray[np.int8]
    spreads: NDArray[np.float32]
    grades: NDArray[np.uint8]
    books: NDArray[np.int8]
    steps: NDArray[np.int16]
    order: NDArray[np.int16]
    offsets: NDArray[np.int64]

    kind = "compact"

    def __post_init__(self) -> None:
        Ragged(self.cells, self.offsets)  # raises ValueError if they do not fit
        tokens, width = len(self.cells), padded(self.dim)
        expected = {
            "marks": (tokens // MARK_EVERY + 1,),
            "means": (len(self.grades), width),
            "spreads": self.grades.shape,
            "books": (len(WIDTHS), CODES * width),
            "steps": (len(WIDTHS) + 1, width),
        }
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape:
                raise ValueError(f"{name} {found} of {tokens} tokens in {self.dim} dimensions: {shape} are needed")
        if tokens and int(self.cells.max()) >= len(self.grades):
            raise ValueError(f"cell {self.cells.max()} of a token, but there are {len(self.grades)}")
        last = tokens // MARK_EVERY * MARK_EVERY
        needed = int(self.marks[-1]) + int(self._sizes(self.cells[last:]).sum())
        if len(self.codes) != needed:
            raise ValueError(f"{len(self.codes):,} bytes of codes, but tokens have {needed:,}")

    @property
    def dim(self) -> int:
        return len(self.order)

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays().values()) + self.offsets.nbytes

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def tables(self) -> tuple[NDArray[np.int16], ...]:
        """The books with their steps multiplied in, int16 [D / width, CODES, width] each."""
        made = []
        for book, steps, width in zip(self.books, self.steps, WIDTHS, strict=False):
            pieces = book.reshape(-1, CODES, width) * steps.reshape(-1, 1, width)
            made.append(np.ascontiguousarray(pieces, dtype=np.int16))
        return tuple(made)

    def item(self, row: int) -> NDArray[np.float32]:
        return self.decode(slice(row, row + 1)).vectors

    def at(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._decoded(places, np.ones_like(places))

    def decode(self, rows: Rows | None = None) -> Ragged:
        begins, lengths = self._ranges(slice(None) if rows is None else rows)
        return Ragged(self._decoded(begins, lengths), np.concatenate([[0], np.cumsum(lengths)]))

    def _decoded(self, begins: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors from each of ``begins`` on, so many of them."""
        if jit.available():
            from tesserank.maxsim.jit import compact

            decoded: NDArray[np.float32] = compact.decode(self, begins, lengths)
            return decoded
        tokens, _ = spans(begins, lengths)
        vectors = np.empty((len(tokens), self.dim), dtype=np.float32)
        vectors[:, self.order] = self.integers(tokens)[:, : self.dim] * np.float32(1 / PEAK)
        return vectors

    def take(self, rows: Rows) -> CompactVectors:
        tokens, offsets = spans(*self._ranges(rows))
        cells = self.cells[tokens]
        places, begins = spans(self._begins(tokens), self._sizes(cells))
        return replace(self, codes=self.codes[places], marks=marks_of(begins), cells=cells, offsets=offsets)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "offsets"}

    def integers(self, tokens: NDArray[np.int64]) -> NDArray[np.int16]:
        """What ``tokens`` [n] decode to, int16 [n, D], in the order of ``order``: a vector is this divided by PEAK."""
        cells, begins = self.cells[tokens], self._begins(tokens)
        grades = self.grades[cells]
        residuals = np.zeros((len(tokens), self.means.shape[1]), dtype=np.int16)
        for grade in np.unique(grades[grades > 0]):
            chosen = np.flatnonzero(grades == grade)
            begin = begins[chosen, None]
            for book, first, last in layout(int(grade), self.means.shape[1]):
                groups = np.arange(first // WIDTHS[book], last // WIDTHS[book])
                codes = self.codes[begin + np.arange(len(groups))]
                said = self.tables[book][groups, codes].reshape(len(chosen), last - first)
                residuals[chosen, first:last] += said
                begin = begin + len(groups)
        means = self.means[cells] * self.steps[len(WIDTHS)]
        return scaled(np.rint(residuals * self.spreads[cells, None]).astype(np.int16) + means)

    def _ranges(self, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first token of items, and how many they have."""
        begins = self.offsets[:-1][rows]
        return begins, self.offsets[1:][rows] - begins

    def _begins(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the codes of tokens begin, int64 [n]: at the mark, plus what the tokens from there on take."""
        begins: NDArray[np.int64] = self.marks[tokens // MARK_EVERY].astype(np.int64)
        for back in range(1, MARK_EVERY):
            later = np.flatnonzero(tokens % MARK_EVERY >= back)
            begins[later] += self._sizes(self.cells[tokens[later] - back])
        return begins

    def _sizes(self, cells: NDArray[np.uint16]) -> NDArray[np.int64]:
        """Bytes of codes of a token in each cell."""
        return self.grades[cells].astype(np.int64) * (padded(self.dim) // MULTIPLE)


def padded(dim: int) -> int:
    """D of d."""
    return -(-dim // MULTIPLE) * MULTIPLE


def layout(grade: int, width: int) -> list[tuple[int, int, int]]:
    """What codes of a grade above 0 say, in their order: book, first and last of its dimensions. ``width`` is D."""
    quarter = width // QUARTERS
    in_pairs = min(grade - LOWEST_GRADE, QUARTERS) * quarter
    rest = max(grade - ALL_PAIRS, 0) * quarter
    return [(PAIRS, 0, in_pairs), (FOURS, in_pairs, width), (REST, 0, rest)]


def scaled(rows: NDArray[np.int16]) -> NDArray[np.int16]:
    """Rows [n, D], in units of 1 / UNIT, scaled to the length PEAK; zeros stay zeros."""
    exact = rows.astype(np.float32)
    squares = np.einsum("nd,nd->n", exact, exact)
    factors = np.divide(PEAK, np.sqrt(squares), out=np.zeros_like(squares), where=squares > 0)
    whole: NDArray[np.int16] = np.rint(exact * factors[:, None]).astype(np.int16)
    return whole


def marks_of(begins: NDArray[np.int64]) -> NDArray[Any]:
    """``marks`` of the places ``begins`` [T + 1] where the codes of tokens begin, and the last of them end."""
    narrow = np.uint32 if begins[-1] <= np.iinfo(np.uint32).max else np.int64
    return begins[::MARK_EVERY].astype(narrow)
