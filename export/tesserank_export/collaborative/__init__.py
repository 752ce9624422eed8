"""The collaborative space: a low-dimensional embedding of the sparse user-item matrix.

item2vec.py       skip-gram over the users' histories
factorisation.py  truncated SVD of the normalised user-item matrix, or of the items' co-occurrence in a window
selection.py      fits each, checks it on held-out events, keeps the best
"""

from tesserank_export.collaborative.factorisation import fit_cooccurrence, fit_factorisation
from tesserank_export.collaborative.item2vec import fit_item2vec
from tesserank_export.collaborative.selection import (
    DEFAULT_DIM,
    METHODS,
    CollaborativeSpace,
    fit_collaborative,
    next_item_ndcg,
)

__all__ = [
    "DEFAULT_DIM",
    "METHODS",
    "CollaborativeSpace",
    "fit_collaborative",
    "fit_cooccurrence",
    "fit_factorisation",
    "fit_item2vec",
    "next_item_ndcg",
]
