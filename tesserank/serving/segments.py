"""A user's segments as arrays: what the embedder hands to the scorer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank import protocol
from tesserank.errors import InvalidArgumentError, LimitExceededError
from tesserank.limits import Limits


@dataclass(frozen=True)
class EmbeddedSegment:
    """One segment: ``vectors`` float32 [n, d of its space], ``token_weights`` float32 [n], ``groups`` int32 [n]."""

    label: str
    channel: int
    weight: float
    vectors: NDArray[np.float32]
    token_weights: NDArray[np.float32]
    groups: NDArray[np.int32]


@dataclass(frozen=True)
class SegmentBatch:
    """The segments of B users, padded to K segments, L tokens and d dimensions; see tesserank.protocol."""

    embeddings: NDArray[np.float32]  # [B, K, L, d]
    token_weights: NDArray[np.float32]  # [B, K, L]
    token_groups: NDArray[np.int32]  # [B, K, L]
    channels: NDArray[np.int32]  # [B, K]
    weights: NDArray[np.float32]  # [B, K]
    labels: NDArray[np.object_]  # [B, K] of bytes

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> SegmentBatch:
        """The batch in a request's arrays, by tensor name. Raises InvalidArgumentError if their shapes disagree
        or a value is none that an embedder gives out.
        """
        embeddings = arrays[protocol.SEGMENT_EMBEDDINGS.name]
        for tensor, axes in (
            (protocol.TOKEN_WEIGHTS, 3),
            (protocol.TOKEN_GROUPS, 3),
            (protocol.SEGMENT_CHANNELS, 2),
            (protocol.SEGMENT_WEIGHTS, 2),
        ):
            if arrays[tensor.name].shape != embeddings.shape[:axes]:
                raise InvalidArgumentError(
                    f"{tensor.name} has shape {arrays[tensor.name].shape}, "
                    f"SEGMENT_EMBEDDINGS {embeddings.shape}: the first {axes} axes must agree"
                )
        _check_values(arrays)
        return SegmentBatch(
            embeddings=embeddings,
            token_weights=arrays[protocol.TOKEN_WEIGHTS.name],
            token_groups=arrays[protocol.TOKEN_GROUPS.name],
            channels=arrays[protocol.SEGMENT_CHANNELS.name],
            weights=arrays[protocol.SEGMENT_WEIGHTS.name],
            labels=np.full(embeddings.shape[:2], b"", dtype=object),  # not the scorer's business
        )

    @staticmethod
    def stack(users: Sequence[Sequence[EmbeddedSegment]], dim: int, limits: Limits | None = None) -> SegmentBatch:
        """Pad and stack. Padding has channel -1 and weights 0. Raises LimitExceededError above max_embedding_bytes."""
        segments = max(len(user) for user in users)
        tokens = max(len(segment.vectors) for user in users for segment in user)
        shape = (len(users), segments)
        size, limit = 4 * len(users) * segments * tokens * dim, (limits or Limits()).max_embedding_bytes
        if size > limit:
            raise LimitExceededError(
                f"{len(users)} users with up to {segments} segments of up to {tokens} tokens take {size:,} bytes, "
                f"the limit max_embedding_bytes is {limit:,}: send fewer users at once"
            )
        batch = SegmentBatch(
            embeddings=np.zeros((*shape, tokens, dim), dtype=np.float32),
            token_weights=np.zeros((*shape, tokens), dtype=np.float32),
            token_groups=np.zeros((*shape, tokens), dtype=np.int32),
            channels=np.full(shape, -1, dtype=np.int32),
            weights=np.zeros(shape, dtype=np.float32),
            labels=np.full(shape, b"", dtype=object),
        )
        for row, user in enumerate(users):
            for k, segment in enumerate(user):
                length, width = segment.vectors.shape
                batch.embeddings[row, k, :length, :width] = segment.vectors
                batch.token_weights[row, k, :length] = segment.token_weights
                batch.token_groups[row, k, :length] = segment.groups
                batch.channels[row, k] = segment.channel
                batch.weights[row, k] = segment.weight
                batch.labels[row, k] = segment.label.encode()
        return batch


def _check_values(arrays: Mapping[str, NDArray[Any]]) -> None:
    embeddings, channels = arrays[protocol.SEGMENT_EMBEDDINGS.name], arrays[protocol.SEGMENT_CHANNELS.name]
    if 0 in embeddings.shape:
        raise InvalidArgumentError(f"SEGMENT_EMBEDDINGS has shape {embeddings.shape}: no axis may be empty")
    if channels.min() < -1:
        raise InvalidArgumentError(f"SEGMENT_CHANNELS holds {channels.min()}: -1 is padding, the rest counts from 0")
    weights = arrays[protocol.SEGMENT_WEIGHTS.name][channels >= 0]
    if not (np.isfinite(weights) & (weights > 0)).all():
        raise InvalidArgumentError("SEGMENT_WEIGHTS must be finite and above 0 where SEGMENT_CHANNELS is not -1")
    tokens = arrays[protocol.TOKEN_WEIGHTS.name]
    if not ((tokens >= 0) & (tokens <= 1)).all():  # NaN is neither
        raise InvalidArgumentError("TOKEN_WEIGHTS must lie between 0 and 1")
    if not np.isfinite(embeddings).all():
        raise InvalidArgumentError("SEGMENT_EMBEDDINGS holds NaN or infinity")


def normalise_weights(
    weights: NDArray[np.float32], groups: NDArray[np.int32], by_group: bool
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Token weights that add up to 1 in every unit, so that a unit's score is a mean and does not grow with its length.

    A unit is a group, or the whole segment if not ``by_group``. A unit of weights 0 gets equal ones. ``groups`` [n]
    must be non-decreasing from 0. Returns weights float32 [n] and the unit of each token int32 [n].
    """
    units = groups if by_group else np.zeros_like(groups)
    if not units[-1]:  # one unit, as most segments are
        total = weights.sum()
        even_share = np.full(len(weights), 1.0 / len(weights), dtype=np.float32)
        return (weights / total if total > 0 else even_share), units
    counts = np.bincount(units)
    totals = np.bincount(units, weights=weights)
    even = (totals == 0)[units]
    shares = np.where(even, 1.0 / counts[units], weights / np.where(totals == 0, 1, totals)[units])
    return shares.astype(np.float32), units
