"""Users' contexts → segments → token vectors: from the index, from the cache, or from the encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tesserank.encoding.batch import Encode, encode_composed
from tesserank.encoding.cache import SegmentCache, segment_key
from tesserank.encoding.template import Composed, Template
from tesserank.errors import EmptyRequestError, InvalidArgumentError, LimitExceededError, UnknownItemError
from tesserank.index import ItemIndex
from tesserank.limits import Limits
from tesserank.segments.config import TEXT_SPACE, SegmentsConfig
from tesserank.segments.cut import Block, Event, cut_history
from tesserank.serving.request import UserContext, check_context, describe_ids
from tesserank.serving.segments import EmbeddedSegment, SegmentBatch, normalise_weights


@dataclass
class EmbeddedUsers:
    """The answer of the embedder: each user's segments, and counts for the client, each [B]."""

    segments: list[list[EmbeddedSegment]]
    dim: int  # of the widest space
    limits: Limits
    unknown: list[int]
    truncated: list[int]
    hits: list[int]
    misses: list[int]

    @cached_property
    def batch(self) -> SegmentBatch:
        """The segments as padded arrays. Raises LimitExceededError if they take too many bytes."""
        return SegmentBatch.stack(self.segments, self.dim, self.limits)

    def users(self, rows: slice) -> EmbeddedUsers:
        """Some of the users, who bring no padding that others need."""
        counts = (self.unknown, self.truncated, self.hits, self.misses)
        return EmbeddedUsers(self.segments[rows], self.dim, self.limits, *(count[rows] for count in counts))


@dataclass
class _Plan:
    """A segment before its vectors are there: rows of the index, or an input for the encoder."""

    label: str
    channel: int
    weight: float
    space: str
    rows: Sequence[int] = ()
    composed: Composed | None = None
    key: bytes = b""


@dataclass
class _User:
    plans: list[_Plan] = field(default_factory=list)
    unknown: int = 0
    truncated: int = 0
    hits: int = 0
    misses: int = 0


class SegmentEmbedder:
    """Embeds the segments of users. ``encode`` runs the encoder; ``max_rows`` is the most it takes at once."""

    def __init__(
        self,
        index: ItemIndex,
        config: SegmentsConfig,
        template: Template,
        tokenize: Callable[[str], list[int]],
        cache: SegmentCache,
        encode: Encode,
        max_rows: int = 64,
    ) -> None:
        self._index = index
        self._config = config
        self._template = template
        self._tokenize = tokenize
        self._cache = cache
        self._encode = encode
        self._max_rows = max_rows
        self._channels = {channel.name: position for position, channel in enumerate(config.channels())}

    def embed(self, contexts: Sequence[UserContext]) -> EmbeddedUsers:
        """Embed the segments of B users, encoding each distinct segment that is not cached once.

        Raises a RequestError naming the user's row if any context cannot be used; nothing is encoded then.
        """
        users = [self._plan_user(context, row) for row, context in enumerate(contexts)]
        vectors = self._encoded_vectors(users)
        embedded = [[self._materialise(plan, vectors) for plan in user.plans] for user in users]
        return EmbeddedUsers(
            segments=embedded,
            dim=self._index.dim,
            limits=self._config.limits,
            unknown=[user.unknown for user in users],
            truncated=[user.truncated for user in users],
            hits=[user.hits for user in users],
            misses=[user.misses for user in users],
        )

    # Planning: which segments, from where

    def _plan_user(self, context: UserContext, row: int) -> _User:
        check_context(context, self._config.limits, row)
        user = _User()
        events = self._known_events(context, user, row)
        self._plan_history(events, user)
        self._plan_texts(context, user, row)
        if not user.plans:
            raise EmptyRequestError(
                f"user {row}: nothing to score by: {len(context.texts)} texts, {len(context.item_ids)} history items "
                f"({user.unknown} not in the catalogue) give no segment with a weight above 0"
            )
        limit = self._config.limits.max_segments
        if len(user.plans) > limit:
            raise LimitExceededError(f"user {row}: {len(user.plans):,} segments, the limit max_segments is {limit:,}")
        return user

    def _known_events(self, context: UserContext, user: _User, row: int) -> list[Event]:
        rows = self._index.rows(context.item_ids)
        unknown = [item for item, item_row in zip(context.item_ids, rows, strict=True) if item_row < 0]
        if unknown and context.reject_unknown:
            raise UnknownItemError(f"user {row}: {describe_ids(unknown)} of the history not in the catalogue")
        user.unknown = len(unknown)
        kinds = self._config.history.kinds
        events = []
        for position, item_row in enumerate(rows.tolist()):
            if item_row < 0:
                continue
            weight = context.weights[position] if context.weights else 1.0
            if context.kinds:
                weight *= kinds.get(context.kinds[position], 1.0)
            stamp = context.timestamps[position] if context.timestamps else None
            events.append(Event(self._index.item_ids[item_row], item_row, stamp, weight))
        return events

    def _plan_history(self, events: Sequence[Event], user: _User) -> None:
        config = self._config.history
        if not config.spaces or not events:
            return
        blocks = cut_history(events, config, lambda row: len(self._index.tokens.item(row)))
        for space in config.spaces:
            channel = self._channels[f"history/{space}"]
            for age, block in zip(range(len(blocks) - 1, -1, -1), blocks, strict=True):
                weight = config.recency**age * sum(event.weight for event in block) / len(block)
                if np.float32(weight) > 0:  # a weight too small for the wire is none
                    self._plan_block(block, space, channel, weight, user)

    def _plan_block(self, block: Block, space: str, channel: int, weight: float, user: _User) -> None:
        label = f"history/{space}:" + "+".join(event.item_id for event in block)
        plan = _Plan(label, channel, weight, space)
        if space == TEXT_SPACE and self._config.history.cut != "item":
            parts = [self._index.token_ids(event.row).tolist() for event in block]
            self._plan_encoding(plan, [part for part in parts if part], user)
            return
        items = self._index.spaces[space].items
        plan.rows = [event.row for event in block if items.item(event.row).any()]
        if plan.rows:  # an item that the space knows nothing of is no segment
            user.plans.append(plan)

    def _plan_texts(self, context: UserContext, user: _User, row: int) -> None:
        seen: dict[str, int] = {}
        for text in context.texts:
            name = text.name or next(iter(self._config.texts))  # a text without a name is the first that is configured
            config = self._config.texts.get(name)
            if config is None:
                known = ", ".join(self._config.texts)
                raise InvalidArgumentError(f"user {row}: no text segment is called {name!r}: there are {known}")
            ids = self._tokenize(text.text)
            room = min(config.token_limit, self._template.room(1))
            user.truncated += max(len(ids) - room, 0)
            channel = f"{name}/{TEXT_SPACE}"
            seen[channel] = seen.get(channel, 0) + 1
            label = channel if seen[channel] == 1 else f"{channel}:{seen[channel]}"
            if ids and text.weight > 0:
                plan = _Plan(label, self._channels[channel], text.weight, TEXT_SPACE)
                self._plan_encoding(plan, [ids[:room]], user)

    def _plan_encoding(self, plan: _Plan, parts: Sequence[Sequence[int]], user: _User) -> None:
        """Parts that do not fit one input together lose tokens at the end, which the answer counts."""
        fitting: list[Sequence[int]] = []
        used = 0
        for part in parts:
            room = max(self._template.room(len(fitting) + 1) - used, 0)
            if kept := part[:room]:
                fitting.append(kept)
            used += len(kept)
            user.truncated += len(part) - len(kept)
        if not fitting:
            return
        plan.composed = self._template.compose(fitting)
        plan.key = segment_key(self._index.encoder_id, plan.composed.input_ids)
        user.plans.append(plan)

    # Vectors: cache first, then the encoder

    def _encoded_vectors(self, users: Sequence[_User]) -> dict[bytes, NDArray[np.float32]]:
        """The vectors of every segment that is not in the index, by key. A duplicate in the batch is encoded once."""
        found: dict[bytes, NDArray[np.float32]] = {}
        missing: dict[bytes, Composed] = {}
        for user in users:
            for plan in user.plans:
                if plan.composed is None:
                    continue
                if plan.key not in found and plan.key not in missing:
                    cached = self._cache.get(plan.key)
                    if cached is None:
                        missing[plan.key] = plan.composed
                    else:
                        found[plan.key] = cached
                user.misses += plan.key in missing
                user.hits += plan.key in found
        vectors = encode_composed(list(missing.values()), self._template, self._encode, self._max_rows)
        for key, encoded in zip(missing, vectors, strict=True):
            self._cache.put(key, encoded)
            found[key] = encoded
        return found

    def _materialise(self, plan: _Plan, vectors: dict[bytes, NDArray[np.float32]]) -> EmbeddedSegment:
        if plan.composed is not None:
            rows = vectors[plan.key]
            weights = self._index.idf[plan.composed.kept_ids]
            groups = plan.composed.groups
        else:
            space = self._index.spaces[plan.space]
            items = [space.items.item(row) for row in plan.rows]
            rows = np.concatenate(items).astype(np.float32)
            weights = np.concatenate([space.item_weights(row) for row in plan.rows])
            groups = np.repeat(np.arange(len(items), dtype=np.int32), [len(item) for item in items])
        shares, units = normalise_weights(weights, groups, self._config.aggregation.group_by_item)
        return EmbeddedSegment(plan.label, plan.channel, plan.weight, rows, shares, units)
