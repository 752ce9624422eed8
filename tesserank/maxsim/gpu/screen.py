"""How far scores by queries of 8 bits may be from those by queries of 16: what a search in two passes goes by.

As the CPU's ``serving.screen``. By the Cauchy-Schwarz inequality, the similarity of a token with an item's
vector is off by at most the length of what packing took from the token, times the longest item vector; a maximum adds
nothing, and a unit's score is off by the weighted sum over its tokens.
"""

from __future__ import annotations

import torch

from tesserank.maxsim.gpu.bounds import FLOAT32, SUM
from tesserank.maxsim.gpu.items import DeviceItems
from tesserank.maxsim.gpu.query import Queries


def largest_error(
    coarse: Queries, fine: Queries, tokens: torch.Tensor, weights: torch.Tensor, units: torch.Tensor, items: DeviceItems
) -> torch.Tensor:
    """The most that a unit's two scores with any item can differ by, float32 [G], on the device; nothing waits for it.

    Both are packed from ``tokens`` [Q, d] and ``weights`` float32 [Q]; ``units`` int64 [Q] is each one's unit.
    """
    steps = items.steps[: items.dim]
    lost = _lost(coarse, tokens, steps) + _lost(fine, tokens, steps)
    exact = torch.linalg.vector_norm(tokens.to(torch.float32) * steps, dim=1)
    nothing = torch.zeros(coarse.layout.units, dtype=torch.float32, device=tokens.device)
    lengths = nothing.index_add(0, units, torch.ones_like(weights))[units]
    # Both passes add up d products, and a unit's tokens, in float32: see ``bounds``.
    rounded = lost + (2 * items.dim * SUM["float16"] + 2 * (lengths + 2) * FLOAT32) * exact
    return nothing.index_add(0, units, items.farthest * rounded * weights)


def _lost(queries: Queries, tokens: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """The length of what packing took from each token, float32 [Q]."""
    sources = queries.sources.to(torch.int64)
    place = sources.clamp(min=0)
    packed = queries.rows[:, : len(steps)].to(torch.float32) * queries.sizes[:, None]
    taken = torch.linalg.vector_norm(tokens[place].to(torch.float32) * steps - packed, dim=1)
    lost = torch.zeros(len(tokens), dtype=torch.float32, device=tokens.device)
    return lost.index_add_(0, place, torch.where(sources < 0, 0.0, taken))
