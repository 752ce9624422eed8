"""The spaces that are learned from events: low-dimensional embeddings of who met what, and in which order.

item2vec.py       skip-gram over the users' histories
factorisation.py  truncated SVD of the normalised user-item matrix, or of the items' co-occurrence in a window
ease.py           ridge regression of each item on all others, truncated SVD: other vectors for segments than for items
transitions.py    ridge regression from past to next items, truncated SVD: the same
popularity.py     a prior of one dimension
trend.py          what is met more than usual, at the moment of asking
learned.py        all of them by name
selection.py      fits the first three, checks each on held-out events, keeps the best: the space ``collaborative``
"""

from tesserank_export.collaborative.factorisation import fit_cooccurrence, fit_factorisation
from tesserank_export.collaborative.item2vec import fit_item2vec
from tesserank_export.collaborative.learned import Learned, learn
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
    "Learned",
    "fit_collaborative",
    "fit_cooccurrence",
    "fit_factorisation",
    "fit_item2vec",
    "learn",
    "next_item_ndcg",
]
