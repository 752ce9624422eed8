"""A user's segments as arrays: what the embedder hands to the scorer, in process and on the wire."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank import protocol
from tesserank.errors import InvalidArgumentError, LimitExceededError
from tesserank.limits import Limits


@dataclass(frozen=True)
class SpaceTokens:
    """The segments of one user that lie in one space: S segments of G units of Q tokens, flat, in order.

    A unit is what is scored as a whole: an item within a segment, or a segment that is not grouped by item.
    """

    segments: NDArray[np.int64]  # [S] positions of these segments among the user's K, ascending
    # float32 [Q, d of the space]: an array or, for the scorer of a device, a tensor there or ``device_tokens.Parts``
    tokens: Any
    token_weights: NDArray[np.float32]  # [Q] above 0; those of a unit add up to 1
    starts: NDArray[np.int64]  # [G] first token of each unit
    unit_segment: NDArray[np.int64]  # [G] which of `segments` (0..S-1) a unit belongs to, non-decreasing
    # Which of the tokens that `weighted` was given are here; None: all of them, or it is not known (from the wire).
    heard: NDArray[np.bool_] | None = None

    @staticmethod
    def weighted(
        segments: NDArray[np.int64],
        tokens: Any,
        weights: NDArray[np.float32],
        starts: NDArray[np.int64],
        unit_segment: NDArray[np.int64],
    ) -> SpaceTokens:
        """The same with token weights that add up to 1 in every unit, whatever ``weights`` [Q] (at least 0) add up to.

        A unit's score then is a mean, which does not grow with its length. A token of weight 0 has no say and is left
        out; the tokens of a unit that has no other count alike.
        """
        shares = normalise_weights(weights, starts)
        heard = shares > 0
        if heard.all():
            return SpaceTokens(segments, tokens, shares, starts, unit_segment)
        starts = (np.cumsum(heard) - heard)[starts]
        return SpaceTokens(segments, tokens[heard], shares[heard], starts, unit_segment, heard)

    @property
    def units(self) -> NDArray[np.int64]:
        """The unit of each token, int64 [Q]."""
        return np.repeat(np.arange(len(self.starts)), _lengths(self.starts, len(self.tokens)))


@dataclass(frozen=True)
class UserSegments:
    """One user's K segments; every segment lies in the space of its channel."""

    labels: tuple[str, ...]  # [K]
    channels: NDArray[np.int32]  # [K]
    weights: NDArray[np.float32]  # [K] above 0
    spaces: Mapping[str, SpaceTokens]  # by name; only those that the user has segments in

    def __len__(self) -> int:
        return len(self.channels)


@dataclass(frozen=True)
class SegmentBatch:
    """The segments of B users, padded to K segments, L tokens and d dimensions; see tesserank.protocol."""

    embeddings: Any  # float32 [B, K, L, d]: an array, or a tensor of a device
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
    def stack(users: Sequence[UserSegments], dim: int, limits: Limits | None = None) -> SegmentBatch:
        """Pad and stack; ``dim`` is that of the widest space. Padding has channel -1 and weights 0.

        Raises LimitExceededError above max_embedding_bytes.
        """
        segments = max(len(user) for user in users)
        tokens = max(int(_segment_lengths(space).max()) for user in users for space in user.spaces.values())
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
            batch.channels[row, : len(user)] = user.channels
            batch.weights[row, : len(user)] = user.weights
            batch.labels[row, : len(user)] = [label.encode() for label in user.labels]
            for space in user.spaces.values():
                batch._fill(row, space)
        return batch

    def _fill(self, row: int, space: SpaceTokens) -> None:
        segment = np.repeat(space.segments, _segment_lengths(space))
        place = _count_up(_segment_lengths(space))
        groups = _count_up(np.bincount(space.unit_segment))
        self.embeddings[row, segment, place, : space.tokens.shape[1]] = space.tokens
        self.token_weights[row, segment, place] = space.token_weights
        self.token_groups[row, segment, place] = groups[space.units]

    def users(self, channel_spaces: Sequence[str], dims: Mapping[str, int]) -> list[UserSegments]:
        """The users without their padding. ``channel_spaces``: the space of each channel; ``dims``: of each space.

        Raises InvalidArgumentError if the dimensions are not those of the widest space, if a channel is none of
        ``channel_spaces``, if padding is not at the end, or if a user or a segment is empty.
        """
        if self.embeddings.shape[3] != max(dims.values()):
            raise InvalidArgumentError(
                f"SEGMENT_EMBEDDINGS has {self.embeddings.shape[3]} dimensions, the index has {max(dims.values())}"
            )
        if self.channels.max() >= len(channel_spaces):
            raise InvalidArgumentError(f"SEGMENT_CHANNELS holds {self.channels.max()}, there are {len(channel_spaces)}")
        return [self._user(row, channel_spaces, dims) for row in range(len(self.channels))]

    def _user(self, row: int, channel_spaces: Sequence[str], dims: Mapping[str, int]) -> UserSegments:
        count = int(np.count_nonzero(self.channels[row] >= 0))
        if not count:
            raise InvalidArgumentError(f"user {row}: no segment")
        channels = self.channels[row, :count]
        if channels.min() < 0:
            raise InvalidArgumentError(f"user {row}: SEGMENT_CHANNELS holds -1 (padding) before its last segment")
        spaces = {}
        for name in dict.fromkeys(channel_spaces):
            known = [channel for channel, space in enumerate(channel_spaces) if space == name]
            segments = np.flatnonzero(np.isin(channels, known))
            if len(segments):
                spaces[name] = self._space(row, segments, name, dims[name])
        labels = tuple(label.decode() for label in self.labels[row, :count])
        return UserSegments(labels, channels, self.weights[row, :count], spaces)

    def _space(self, row: int, segments: NDArray[np.int64], name: str, dim: int) -> SpaceTokens:
        """Weight 0 is padding; tokens of a segment that lie together and share a group are a unit."""
        segment, place = np.nonzero(self.token_weights[row, segments] > 0)
        if len(np.unique(segment)) < len(segments):
            raise InvalidArgumentError(f"user {row}: a segment of space {name!r} has no token weight above 0")
        at = (row, segments[segment], place)
        groups = self.token_groups[at]
        is_first = np.ones(len(segment), dtype=bool)
        is_first[1:] = (segment[1:] != segment[:-1]) | (groups[1:] != groups[:-1])
        starts = np.flatnonzero(is_first)
        return SpaceTokens(segments, self.embeddings[at][:, :dim], self.token_weights[at], starts, segment[starts])


def _segment_lengths(space: SpaceTokens) -> NDArray[np.int64]:
    """Tokens of each segment, int64 [S]."""
    first_units = np.flatnonzero(np.diff(space.unit_segment, prepend=-1))
    return _lengths(space.starts[first_units], len(space.tokens))


def _count_up(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, ... for each of the lengths, one after the other: int64 [sum of lengths]."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)


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
    # NaN is the largest of numbers to numpy and to torch alike.
    if not math.isfinite(float(abs(embeddings).max())):
        raise InvalidArgumentError("SEGMENT_EMBEDDINGS holds NaN or infinity")


def normalise_weights(weights: NDArray[np.float32], starts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Each token's share of its unit's weight, float32 [Q]; a unit of weights 0 has equal shares.

    ``weights`` [Q] are at least 0; ``starts`` [G] are the units' first tokens.
    """
    lengths = _lengths(starts, len(weights))
    totals: NDArray[np.float32] = np.add.reduceat(weights, starts)
    if totals.all():
        shares: NDArray[np.float32] = weights / np.repeat(totals, lengths)
        return shares
    total, length = np.repeat(totals, lengths), np.repeat(lengths, lengths)
    return np.where(total > 0, weights / np.where(total > 0, total, 1), 1 / length).astype(np.float32)


def _lengths(starts: NDArray[np.int64], end: int) -> NDArray[np.int64]:
    """From each start to the next, the last one to ``end``; numpy's diff with ``append`` takes ten times as long."""
    lengths = np.empty_like(starts)
    np.subtract(starts[1:], starts[:-1], out=lengths[:-1])
    lengths[-1] = end - starts[-1]
    return lengths
