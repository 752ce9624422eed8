"""At build time: what stands in for a space's vectors, fitted to them by k-means (faiss)."""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray

from tesserank.index import Space
from tesserank.maxsim.vectors import ItemVectors
from tesserank.search.centroids import CentroidVectors
from tesserank.search.pieces import CODES, PieceVectors, piece_width
from tesserank.search.standins import StandIn, has_one_vector_an_item

# A table of 4,096 rows, one for each centroid, stays in a core's cache during a search; twice as many halve what a
# proposal misses and cost 2 ms a query (docs/log.md).
_MOST = 4096
_TOKENS_A_CENTROID = 32  # at least, on average
_SAMPLE_A_CENTROID = 40  # tokens to fit on
_ITERATIONS = 4  # 10 fit no better
_BLOCK_ITEMS = 4096
_SAMPLE_OF_PIECES = 65_536  # items to fit on: 256 for each piece


def fit_stand_in(space: Space, seed: int, threads: int) -> StandIn:
    """What stands in for a space's vectors. The same items and seed give the same, on however many threads."""
    faiss.omp_set_num_threads(threads)
    fit = fit_pieces if has_one_vector_an_item(space) else fit_centroids
    return fit(space.items, seed)


def fit_centroids(items: ItemVectors, seed: int) -> CentroidVectors:
    """Fit on a sample of the items, then give every token vector its centroid; a zero vector gets one that is zero."""
    tokens = int(items.offsets[-1])
    count = 1 << min(max(tokens // _TOKENS_A_CENTROID, 1).bit_length() - 1, _MOST.bit_length() - 1)
    centroids = _fit(_sample(items, count * _SAMPLE_A_CENTROID, seed), count, seed)
    search = faiss.IndexFlatIP(items.dim)
    search.add(centroids)
    codes = np.empty(tokens, dtype=np.uint16)
    nothing = len(centroids)
    for start, vectors in _blocks(items):
        found = search.search(vectors, 1)[1][:, 0]
        codes[start : start + len(vectors)] = np.where(vectors.any(axis=1), found, nothing)
    if np.any(codes == nothing):
        centroids = np.concatenate([centroids, np.zeros((1, items.dim), dtype=np.float32)])
    return CentroidVectors(centroids, codes, items.offsets)


def fit_pieces(items: ItemVectors, seed: int) -> PieceVectors:
    """Fit books of pieces to a sample of the items, then give every item its pieces; they have one vector each."""
    width = piece_width(items.dim)
    pieces = -(-items.dim // width)
    quantiser = faiss.ProductQuantizer(pieces * width, pieces, CODES.bit_length() - 1)
    quantiser.cp.seed = seed
    quantiser.cp.min_points_per_centroid = 1
    order = np.random.default_rng(seed).permutation(len(items))
    sample = np.sort(np.resize(order[:_SAMPLE_OF_PIECES], max(CODES, min(len(items), _SAMPLE_OF_PIECES))))
    quantiser.train(_widened(items.decode(sample).vectors, pieces * width))
    books = faiss.vector_to_array(quantiser.centroids).astype(np.float16).astype(np.float32)
    faiss.copy_array_to_vector(books, quantiser.centroids)
    codes = [quantiser.compute_codes(_widened(vectors, pieces * width)) for _, vectors in _blocks(items)]
    return PieceVectors(books.reshape(pieces, CODES, width), np.concatenate(codes), items.dim)


def _widened(vectors: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """``vectors`` [n, d] with zeros up to ``dim`` dimensions."""
    return np.pad(vectors, ((0, 0), (0, dim - vectors.shape[1])))


def _sample(items: ItemVectors, tokens: int, seed: int) -> NDArray[np.float32]:
    """About so many token vectors, of whole items drawn at random; none of them zero."""
    average = max(int(items.offsets[-1]) // len(items), 1)
    order = np.random.default_rng(seed).permutation(len(items))
    vectors: NDArray[np.float32] = items.decode(np.sort(order[: -(-tokens // average)])).vectors
    return np.asarray(vectors[vectors.any(axis=1)])


def _fit(sample: NDArray[np.float32], count: int, seed: int) -> NDArray[np.float32]:
    """At most ``count`` unit vectors, float32 that float16 holds as they are; one zero vector if there is no sample."""
    if not len(sample):
        return np.zeros((1, sample.shape[1]), dtype=np.float32)
    kmeans = faiss.Kmeans(
        sample.shape[1],
        min(count, len(sample)),
        niter=_ITERATIONS,
        spherical=True,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=len(sample),  # it is a sample already
    )
    kmeans.train(sample)
    return np.asarray(kmeans.centroids).astype(np.float16).astype(np.float32)


def _blocks(items: ItemVectors) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """All token vectors, some items' at a time, with the position of the first."""
    for start in range(0, len(items), _BLOCK_ITEMS):
        rows = slice(start, min(start + _BLOCK_ITEMS, len(items)))
        yield int(items.offsets[start]), items.decode(rows).vectors
