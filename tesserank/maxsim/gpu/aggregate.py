"""Unit scores → segment scores → one score an item → the best k, on the device.

``maxsim.aggregate`` and ``maxsim.topk`` say what is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tesserank.maxsim.aggregate import check
from tesserank.maxsim.gpu import kernels
from tesserank.maxsim.gpu.upload import upload

BLOCK = 256  # items of a program
SEARCHED_WHOLE = 4  # times as many blocks of a row as are wanted of its best: fewer are not worth finding first
_LAST_POSITION = 0xFFFFFFFF


@dataclass(frozen=True)
class Channel:
    """The segments of a user that are aggregated together, and what their score is multiplied by.

    ``units`` int [S, 2]: each one's first, and the one after its last, of all users'; ``weights`` [S] above 0.
    """

    units: NDArray[np.int64]
    weights: NDArray[np.float32]
    scale: float


@dataclass(frozen=True)
class Hierarchy:
    """B users' channels and segments in one space, on a device; segments are numbered user by user, channel by channel.

    ``segment_units`` int32 [S, 2], ``segment_weights`` float32 [S], ``channel_segments`` int32 [C + 1],
    ``channel_scales`` float32 [C], ``user_channels`` int32 [B + 1].
    """

    segment_units: torch.Tensor
    segment_weights: torch.Tensor
    channel_segments: torch.Tensor
    channel_scales: torch.Tensor
    user_channels: torch.Tensor
    method: str
    temperature: float

    @staticmethod
    def of(users: Sequence[Sequence[Channel]], method: str, temperature: float, device: torch.device) -> Hierarchy:
        """Of each user's channels; ``temperature`` is on the scale of unit scores. Raises ValueError as ``check``."""
        return Hierarchy.of_arrays(upload(device, *hierarchy_arrays(users, method)), method, temperature)

    @staticmethod
    def of_arrays(arrays: Sequence[torch.Tensor], method: str, temperature: float) -> Hierarchy:
        """Of ``hierarchy_arrays`` that are on the device."""
        segment_units, segment_weights, channel_segments, channel_scales, user_channels = arrays
        return Hierarchy(
            segment_units, segment_weights, channel_segments, channel_scales, user_channels, method, temperature
        )


def hierarchy_arrays(users: Sequence[Sequence[Channel]], method: str) -> tuple[NDArray[Any], ...]:
    """The arrays of a Hierarchy, in its order, on the host. Raises ValueError as ``check``."""
    channels = [channel for user in users for channel in user]
    for channel in channels:
        check(channel.weights, method)
    return (
        np.concatenate([np.empty((0, 2)), *(channel.units for channel in channels)]).astype(np.int32),
        np.concatenate([np.empty(0), *(channel.weights for channel in channels)]).astype(np.float32),
        np.cumsum([0, *(len(channel.weights) for channel in channels)], dtype=np.int32),
        np.array([channel.scale for channel in channels], dtype=np.float32),
        np.cumsum([0, *map(len, users)], dtype=np.int32),
    )


def aggregate(
    units: torch.Tensor,
    hierarchy: Hierarchy,
    counts: torch.Tensor,
    scores: torch.Tensor,
    add: bool = False,
    segment_scores: torch.Tensor | None = None,
) -> None:
    """Aggregate ``units`` float32 [G, n] into ``scores`` float32 [B, n], which is written, or added to with ``add``.

    ``counts`` int64 [B]: how many of the n columns are candidates of each user; the rest becomes -inf.
    ``segment_scores`` float32 [S, n], if any, gets the segments' scores. Nothing is allocated.
    """
    users, width = scores.shape
    if not users or not width:
        return
    segments = scores if segment_scores is None else segment_scores
    kernels.aggregate[(-(-width // BLOCK), users)](
        units, hierarchy.segment_units, hierarchy.segment_weights, hierarchy.channel_segments, hierarchy.channel_scales,
        hierarchy.user_channels, counts, scores, segments, hierarchy.temperature, units.stride(0), scores.stride(0),
        segments.stride(0), width, SOFTMAX=hierarchy.method == "softmax", ADD=add, SEGMENTS=segment_scores is not None,
        BLOCK=BLOCK, num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip


def top_k(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k best of every row of ``scores`` float32 [B, n]: positions int64 [B, k] and scores, best first.

    Of equal scores the earlier position wins, as in ``maxsim.topk``; what is -inf has position -1. Fewer than k where n
    is. Long rows are read once: the k best lie in the k blocks of the largest maxima.
    """
    users, width = scores.shape
    if width > _LAST_POSITION:
        raise ValueError(f"{width:,} scores a user: at most {_LAST_POSITION:,} can be ranked")
    blocks = -(-width // BLOCK)
    k = min(k, width)
    if blocks <= SEARCHED_WHOLE * k:
        positions, found = _first_k(scores, torch.arange(width, device=scores.device), k)
    else:
        lowest = float("-inf")
        blocked = torch.nn.functional.pad(scores, (0, blocks * BLOCK - width), value=lowest).view(users, blocks, BLOCK)
        best, _ = _first_k(blocked.amax(dim=2), torch.arange(blocks, device=scores.device), k)
        inside = torch.arange(BLOCK, device=scores.device)
        read = blocked.gather(1, best[:, :, None].expand(-1, -1, BLOCK)).view(users, k * BLOCK)
        positions, found = _first_k(read, (best[:, :, None] * BLOCK + inside).view(users, k * BLOCK), k)
    return torch.where(found == float("-inf"), -1, positions), found


def _first_k(scores: torch.Tensor, positions: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k best of ``scores`` float32 [B, n] at ``positions`` int64 [n] or [B, n], and these scores.

    A score and its position become one integer, since ``torch.topk`` orders equal numbers as it likes.
    """
    bits = (scores + 0.0).view(torch.int32)  # -0.0 becomes 0.0, which it equals
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(torch.int64)
    best, places = torch.topk((ordered << 32) | (_LAST_POSITION - positions), k, dim=1)
    return _LAST_POSITION - (best & _LAST_POSITION), scores.gather(1, places)
