"""At build time: centroids of a space's token vectors, and each token's, by spherical k-means (faiss)."""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray

from tesserank.maxsim.vectors import ItemVectors
from tesserank.search.centroids import CentroidVectors

# A table of 4,096 rows, one for each centroid, stays in a core's cache during a search; twice as many halve what a
# proposal misses and cost 2 ms a query (docs/log.md).
_MOST = 4096
_TOKENS_A_CENTROID = 32  # at least, on average
_SAMPLE_A_CENTROID = 40  # tokens to fit on
_ITERATIONS = 4  # 10 fit no better
_BLOCK_ITEMS = 4096


def fit_centroids(items: ItemVectors, seed: int, threads: int) -> CentroidVectors:
    """Fit on a sample of the items, then give every token vector its centroid; a zero vector gets one that is zero.

    The same items and seed give the same centroids.
    """
    faiss.omp_set_num_threads(threads)
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
