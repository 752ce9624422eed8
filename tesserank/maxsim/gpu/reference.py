"""What the kernels compute, in plain torch on any device: to read, and to compare with where numpy would take too long.

``tesserank.maxsim.reference`` is the same in numpy; tests hold the three together.
"""

from __future__ import annotations

import torch

from tesserank.maxsim.gpu.items import DeviceItems


def unit_scores(
    tokens: torch.Tensor,
    weights: torch.Tensor,
    starts: torch.Tensor,
    items: DeviceItems,
    rows: torch.Tensor | None = None,
    dtype: torch.dtype = torch.float64,
) -> torch.Tensor:
    """MaxSim of G units with the items of ``rows`` int64 [n] (None: all) -> [n, G] of ``dtype``.

    ``tokens`` [Q, d], ``weights`` [Q], ``starts`` int64 [G], as in ``maxsim.reference.unit_scores``.
    """
    begins, ends = items.offsets[:-1], items.offsets[1:]
    if rows is not None:
        begins, ends = begins[rows], ends[rows]
    # An item that is shorter than the longest repeats its last vector, which changes no maximum.
    places = begins[:, None] + torch.arange(items.longest, device=begins.device)
    vectors = items.vectors[torch.minimum(places, ends[:, None] - 1)].to(dtype) * items.steps.to(dtype)
    similarities = vectors[:, :, : items.dim] @ tokens.to(dtype).T  # [n, M, Q]
    weighted = similarities.amax(dim=1) * weights.to(dtype)
    unit = torch.zeros(len(tokens), dtype=torch.int64, device=tokens.device)
    unit[starts[1:]] = 1
    scores = torch.zeros((len(begins), len(starts)), dtype=dtype, device=tokens.device)
    return scores.index_add_(1, unit.cumsum(0), weighted)
