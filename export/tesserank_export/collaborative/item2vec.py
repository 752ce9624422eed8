"""item2vec: skip-gram with negative sampling in which a history is the sentence and an item the word."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from tesserank_export.collaborative.factorisation import unit_rows
from tesserank_export.events import Events

_WINDOW = 10
_NEGATIVES = 5
_NEGATIVE_EXPONENT = 0.75
_LEARNING_RATE = 0.1
# Small logs need many epochs, large ones few: about this many events are visited in all.
_EVENTS_VISITED = 3_000_000
_MIN_EPOCHS, _MAX_EPOCHS = 3, 30


def fit_item2vec(events: Events, n_items: int, dim: int, seed: int) -> NDArray[np.float32]:
    """Skip-gram embedding of items that share histories → float32 [n_items, dim].

    The same log and seed give the same vectors on one machine: one thread, and a hash of our own in place of Python's
    randomised one. Rows have unit length; items without a neighbour in any history are zero.
    """
    from gensim.models import Word2Vec

    vectors = np.zeros((n_items, dim), dtype=np.float32)
    sentences = [list(map(str, history)) for history in events.histories() if len(history) > 1]
    if not sentences:
        return vectors
    model = Word2Vec(
        sentences,
        vector_size=dim,
        sg=1,
        window=_WINDOW,
        negative=_NEGATIVES,
        ns_exponent=_NEGATIVE_EXPONENT,
        alpha=_LEARNING_RATE,
        sample=1.0 / n_items,  # thins out items more frequent than the average; a constant would empty small catalogues
        epochs=int(np.clip(_EVENTS_VISITED // len(events), _MIN_EPOCHS, _MAX_EPOCHS)),
        min_count=1,
        workers=1,
        seed=seed,
        hashfxn=_stable_hash,
    )
    vectors[[int(word) for word in model.wv.index_to_key]] = model.wv.vectors
    return unit_rows(vectors)


def _stable_hash(word: str) -> int:
    return zlib.crc32(word.encode())
