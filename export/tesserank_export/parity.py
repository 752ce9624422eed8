"""Does what is served say what the checkpoint says? Errors, cosines, and whether the rankings agree.

Two comparisons, the same numbers: an exported graph with the checkpoint, on texts, and the index's stored vectors with
what was encoded, on items.

ParityError
├── ShapeError       outputs of another shape
├── MaxErrorError    the largest absolute difference of a component is above its tolerance
├── CosineError      the mean cosine of a token vector with its original is below its tolerance
└── AgreementError   the top-10 lists by MaxSim agree less than their tolerance
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from tesserank.errors import ParityError
from tesserank.index import Space
from tesserank.maxsim.cpu import unit_scores
from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.topk import top_k
from tesserank.maxsim.vectors import FloatVectors, ItemVectors
from tesserank_export.spaces import as_units, known_rows

TOP = 10
# Closer is the same: of the best score, but for the roundings of float32; and of the space's standard deviation, as
# spaces are added in units of it. Many items of a log were met alike, and the leading components of a learned space
# nearly say so.
_TIE, _TIE_DEVIATIONS = 1e-5, 1e-3
_INDEX_ITEMS, _INDEX_CANDIDATES = 128, 4096


class ShapeError(ParityError):
    """Outputs of another shape."""


class MaxErrorError(ParityError):
    """The largest absolute difference is above its tolerance."""


class CosineError(ParityError):
    """The mean cosine is below its tolerance."""


class AgreementError(ParityError):
    """The top-10 lists agree less than their tolerance."""


@dataclass(frozen=True)
class Tolerance:
    """What a graph may differ by. Components of unit vectors lie in [-1, 1]."""

    max_error: float
    mean_cosine: float
    top10_agreement: float


# fp32: fusion reorders sums of float32, which over six layers was seen to move a component by 2e-6; a wrong mask or a
# dropped bias moves it by 1e-1. int8: one scale a tensor of activations; mean cosine 0.99 was seen with MiniLM. A
# maximum over components says nothing there, so it is bounded only by what unit vectors can differ by. index: how its
# vectors are stored must not show in the answers, however far single components are off. compact: the same of vectors
# that are to be small; 0.959 to 0.977 was seen, with single items as segments, where errors do not average out.
TOLERANCES: Mapping[str, Tolerance] = {
    "fp32": Tolerance(max_error=1e-4, mean_cosine=0.99999, top10_agreement=0.99),
    "int8": Tolerance(max_error=2.0, mean_cosine=0.97, top10_agreement=0.70),
    "plain": Tolerance(max_error=1e-4, mean_cosine=0.99999, top10_agreement=0.99),
    "tensorrt": Tolerance(max_error=2.0, mean_cosine=0.99, top10_agreement=0.80),
    "torch": Tolerance(max_error=1e-4, mean_cosine=0.99999, top10_agreement=0.99),
    "torch_bf16": Tolerance(max_error=2.0, mean_cosine=0.99, top10_agreement=0.80),
    "index": Tolerance(max_error=2.0, mean_cosine=0.97, top10_agreement=0.98),
    "compact": Tolerance(max_error=2.0, mean_cosine=0.97, top10_agreement=0.94),
}


@dataclass(frozen=True)
class Parity:
    """How vectors compare with the original ones on a sample of texts (or items)."""

    max_error: float
    mean_error: float
    mean_cosine: float
    min_cosine: float
    top10_agreement: float
    texts: int
    tokens: int

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


Vectors = Sequence[NDArray[np.float32]]


def compare(original: Vectors, exported: Vectors) -> Parity:
    """Compare token vectors, text by text, each float32 [n, d]. Raises ShapeError if a shape differs."""
    for text, (a, b) in enumerate(zip(original, exported, strict=True)):
        if a.shape != b.shape:
            raise ShapeError(f"text {text}: the checkpoint gives {a.shape}, the exported graph {b.shape}")
    a, b = np.concatenate(list(original)), np.concatenate(list(exported))
    return _parity(a, b, _overlap(_rankings(original), _rankings(exported)), len(original))


def _parity(a: NDArray[np.float32], b: NDArray[np.float32], agreement: float, texts: int) -> Parity:
    error = np.abs(a - b)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = (a * b).sum(axis=1) / np.maximum(norms, 1e-12)
    return Parity(
        max_error=float(error.max()),
        mean_error=float(error.mean()),
        mean_cosine=float(cosine.mean()),
        min_cosine=float(cosine.min()),
        top10_agreement=agreement,
        texts=texts,
        tokens=len(a),
    )


def compare_index(original: Ragged, space: Space, seed: int, queries: Ragged | None = None) -> Parity:
    """Compare the vectors a space stores with the ``original`` ones, float [T, d].

    ``queries`` are the original ones of ``space.queries``, where it has those: the errors then are of the items'
    vectors, the agreement of both.

    Errors are those of _INDEX_ITEMS random items; agreement is that of the top 10 of each as a segment of history,
    itself left out, or of as many random moments, among _INDEX_CANDIDATES random items. Items of equal scores are as
    good as each other.
    """
    rng = np.random.default_rng(seed)
    known = known_rows(space.items)
    asking = known if space.queries is None else known_rows(space.queries)
    sample = np.sort(rng.permutation(asking)[:_INDEX_ITEMS])
    others = np.sort(rng.permutation(known)[:_INDEX_CANDIDATES])
    of_items = sample if space.moments is None else rng.permutation(known)[:_INDEX_ITEMS]
    shown = np.intersect1d(of_items, known)  # the sample, unless items and segments differ
    a, b = original.take(shown).vectors.astype(np.float32), space.items.decode(shown).vectors
    exact = FloatVectors(original.vectors, original.offsets).in_float32()
    asked = exact if queries is None else FloatVectors(queries.vectors, queries.offsets).in_float32()
    scores, stored = (
        _index_scores(segments, items, space, sample, others)
        for segments, items in ((asked, exact), (space.queries or space.items, space.items))
    )
    return _parity(a, b, _agreement(scores, stored), len(shown))


def check(precision: str, parity: Parity, tolerance: Tolerance, what: str | None = None) -> None:
    """Raise a named ParityError if vectors differ by more than they may. NaN never passes.

    ``precision`` is a key of TOLERANCES; ``what`` names in messages what was compared, if that is not enough.
    """
    fix = f"raise the tolerance with --tolerance {precision}.{{}}=... if that is acceptable"
    what = what or precision
    if not parity.max_error <= tolerance.max_error:
        message = f"{what}: a component differs by {parity.max_error:.2e}, allowed are {tolerance.max_error:.2e}"
        raise MaxErrorError(f"{message}: {fix.format('max_error')}")
    if not parity.mean_cosine >= tolerance.mean_cosine:
        message = f"{what}: mean cosine {parity.mean_cosine:.5f}, at least {tolerance.mean_cosine} is asked"
        raise CosineError(f"{message}: {fix.format('mean_cosine')}")
    if not parity.top10_agreement >= tolerance.top10_agreement:
        found, asked = parity.top10_agreement, tolerance.top10_agreement
        message = f"{what}: top-{TOP} agreement {found:.3f}, at least {asked} is asked"
        raise AgreementError(f"{message}: {fix.format('top10_agreement')}")


def _overlap(before: Sequence[NDArray[np.int64]], after: Sequence[NDArray[np.int64]]) -> float:
    """Mean share of the first lists that the second ones have too."""
    shares = [len(set(a) & set(b)) / len(a) for a, b in zip(before, after, strict=True) if len(a)]
    return float(np.mean(shares)) if shares else 1.0  # a single text has nobody to be ranked


def _rankings(vectors: Vectors) -> list[NDArray[np.int64]]:
    """The top-10 texts by MaxSim, every text a query, itself left out."""
    lengths = np.array([len(v) for v in vectors])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = np.concatenate(list(vectors))
    scores = unit_scores(tokens, np.ones(len(tokens), dtype=np.float32), offsets[:-1], FloatVectors(tokens, offsets))
    np.fill_diagonal(scores, -np.inf)
    return [top_k(column, TOP) for column in np.ascontiguousarray(scores.T)]


def _index_scores(
    segments: ItemVectors, items: ItemVectors, space: Space, sample: NDArray[np.int64], others: NDArray[np.int64]
) -> NDArray[np.float32]:
    """MaxSim of every segment of the ``sample`` with ``others`` → [sample, others], an item itself left out."""
    scores = unit_scores(*as_units(segments, space.segment_weights, sample), items, others)
    if space.moments is None:
        scores[others[:, None] == sample[None, :]] = -np.inf
    return np.ascontiguousarray(scores.T)


def _agreement(scores: NDArray[np.float32], stored: NDArray[np.float32]) -> float:
    """Mean share of each row's top-10 by ``stored`` scores that is at least as good as the tenth by ``scores``.

    That is how many the two lists share, unless scores tie: items that the same users met alone, say, have the same
    vectors in a learned space, and which ten of thirty come first is for rounding to say. NaN if any score is.
    """
    if np.isnan(scores).any() or np.isnan(stored).any():
        return float("nan")
    shares = []
    finite = scores[np.isfinite(scores)]
    told_apart = _TIE_DEVIATIONS * float(finite.std()) if finite.size else 0.0
    for exact, found in zip(scores, stored, strict=True):
        best = top_k(exact, TOP)
        if not len(best):  # an item without others
            continue
        tie = max(_TIE * float(np.abs(exact[best]).max()), told_apart)
        shares.append(float((exact[top_k(found, TOP)] >= exact[best].min() - tie).mean()))
    return float(np.mean(shares)) if shares else 1.0
