"""What tesserank is compared with, each fitted on the same log and ranked by the same code.

popularity.py  the same for everybody
item_knn.py    cosine of co-occurrence
ease.py        item-item weights in closed form
als.py         matrix factorisation of implicit feedback
words.py       TF-IDF and BM25 over the texts
vectors.py     item2vec; text vectors pooled over the history
newest.py      asking any of them with a part of the history
tuning.py      choosing settings on held-out items
sasrec/        self-attention over sequences, which takes long to train and so is asked for
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from tesserank_evaluation.baselines.als import fit_als
from tesserank_evaluation.baselines.ease import fit_ease
from tesserank_evaluation.baselines.item_knn import ItemKnn
from tesserank_evaluation.baselines.newest import Newest
from tesserank_evaluation.baselines.popularity import Popularity
from tesserank_evaluation.baselines.tuning import best_of
from tesserank_evaluation.baselines.vectors import Item2Vec, MaxPooled, MeanPooled
from tesserank_evaluation.baselines.words import Bm25, TfIdf
from tesserank_evaluation.recommender import Fit

BASELINES: Mapping[str, Fit] = MappingProxyType(
    {
        "popularity": Popularity,
        "itemknn": partial(best_of, (ItemKnn,)),
        "itemknn-last-10": lambda training: Newest(ItemKnn(training), 10),
        "ease": fit_ease,
        "als": fit_als,
        "tf-idf": partial(best_of, (TfIdf,)),
        "bm25": partial(best_of, (Bm25,)),
        "item2vec": partial(best_of, (Item2Vec,)),
        "pooled-mean": partial(best_of, (MeanPooled,)),
        "pooled-max": partial(best_of, (MaxPooled,)),
    }
)

SASREC = "sasrec"
BASELINE_NAMES = (*BASELINES, SASREC)
