"""A catalogue of any size out of a real one: its items first, then copies of them with noise in text and behaviour.

Nobody publishes 100,000 items with texts under a licence that lets a benchmark ship them, and random vectors are too
easy to prune: they have no near neighbours. Copies of real texts with a few words changed are the hard case, as every
item then competes with eight others that say almost the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NOISE_WORDS = 3  # of a copy's text that are not its original's: about every fourth word of amazon_beauty
NOISE_ANGLE = 0.3  # tangent of the angle that a copy's collaborative vector is turned by


def replicated_texts(texts: Sequence[str], count: int, seed: int) -> list[str]:
    """``count`` texts: the originals in their order, then copies in the same order, over and over.

    Each copy has ``NOISE_WORDS`` words of the corpus, drawn by their frequency, each put in place of one of its own
    words or between them, as a coin falls. An empty text stays empty.
    """
    rng = np.random.default_rng(seed)
    corpus = [word for text in texts for word in text.split()]
    made = list(texts[:count])
    for row in range(len(texts), count):
        words = texts[row % len(texts)].split()
        for _ in range(NOISE_WORDS if words else 0):
            noise, place = corpus[rng.integers(len(corpus))], int(rng.integers(len(words)))
            if rng.integers(2):
                words[place] = noise
            else:
                words.insert(place, noise)
        made.append(" ".join(words))
    return made


def replicated_vectors(vectors: NDArray[np.float32], count: int, seed: int) -> NDArray[np.float32]:
    """Unit vectors [n, d] -> [count, d], in the order of ``replicated_texts``: each copy turned by NOISE_ANGLE.

    The direction is random, so copies of an item are no nearer to each other than to it. A zero vector stays zero.
    """
    rng = np.random.default_rng(seed)
    made = np.resize(vectors, (count, vectors.shape[1])).astype(np.float32)
    copies = made[len(vectors) :]
    noise = rng.standard_normal(copies.shape, dtype=np.float32)
    noise *= NOISE_ANGLE / np.linalg.norm(noise, axis=1, keepdims=True)
    known = np.linalg.norm(copies, axis=1, keepdims=True) > 0
    copies += noise * known
    copies /= np.maximum(np.linalg.norm(copies, axis=1, keepdims=True), np.float32(1e-12))
    return made
