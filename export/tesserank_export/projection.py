"""The projection from hidden states to token vectors, where a checkpoint brings none: principal components."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from tesserank.errors import ConfigError
from tesserank_export.heads import Projection


def fit_projection(hidden: Sequence[NDArray[np.float32]], dim: int, seed: int) -> Projection:
    """Fit PCA on hidden states, each float32 [n, hidden], and return it as one linear map into ``dim`` dimensions.

    Raises ConfigError if ``dim`` exceeds the hidden size or the number of states.
    """
    states = np.concatenate(list(hidden))
    if dim > min(states.shape):
        raise ConfigError(
            f"--dim {dim} is above what can be fitted: {states.shape[0]:,} tokens of {states.shape[1]} dimensions"
        )
    pca = PCA(dim, svd_solver="full" if dim > 0.8 * states.shape[1] else "randomized", random_state=seed).fit(states)
    weight = np.ascontiguousarray(pca.components_.T, dtype=np.float32)
    bias = (-pca.mean_ @ pca.components_.T).astype(np.float32)
    kept = float(pca.explained_variance_ratio_.sum())
    source = f"PCA {states.shape[1]}->{dim}, {kept:.1%} of the variance of {len(states):,} tokens"
    return Projection(weight, bias, source)
