"""A user's context → segments, before their vectors are there: rows of the index, or inputs for the encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tesserank.encoding.cache import segment_key
from tesserank.encoding.template import Composed, Template
from tesserank.errors import EmptyRequestError, InvalidArgumentError, LimitExceededError, UnknownItemError
from tesserank.index import ItemIndex
from tesserank.segments.config import TEXT_SPACE, SegmentsConfig
from tesserank.segments.cut import Block, HistoryCutter
from tesserank.serving.lookup import Lookup
from tesserank.serving.request import UserContext, check_context, describe_ids


@dataclass(frozen=True)
class LookedUp:
    """Segments whose vectors lie in the index: ``rows`` of all their items, ``counts`` int64 [s] of each segment's."""

    rows: NDArray[np.int64]
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.counts)


@dataclass(frozen=True)
class Encoded:
    """A segment whose vectors the encoder makes, if the cache has none under ``key``."""

    composed: Composed
    key: bytes

    def __len__(self) -> int:
        return 1


@dataclass(frozen=True)
class Moment:
    """A segment that says when it is asked: ``row`` of its space's moments, ``since`` in Unix seconds."""

    row: int
    since: int

    def __len__(self) -> int:
        return 1

    def __str__(self) -> str:
        # Not by datetime, which begins with the year 1.
        return str(np.datetime_as_string(np.datetime64(self.since, "s"), unit="m", timezone="UTC"))


Source: TypeAlias = "LookedUp | Moment | Encoded"


@dataclass
class UserPlan:
    """A user's K segments and, for each space, where the vectors of its segments come from."""

    labels: list[str] = field(default_factory=list)  # [K]
    channels: list[int] = field(default_factory=list)  # [K]
    weights: list[float] = field(default_factory=list)  # [K]
    spaces: dict[str, list[tuple[int, Source]]] = field(default_factory=dict)  # with the source's first segment
    unknown: int = 0
    truncated: int = 0

    def add(self, source: Source, space: str, channel: int, labels: Sequence[str], weights: Sequence[float]) -> None:
        """Append the segments of a source, all of one channel."""
        self.spaces.setdefault(space, []).append((len(self.labels), source))
        self.labels.extend(labels)
        self.weights.extend(weights)
        self.channels.extend([channel] * len(labels))

    def encoded(self) -> list[Encoded]:
        """The segments that may need the encoder."""
        return [source for sources in self.spaces.values() for _, source in sources if isinstance(source, Encoded)]


_REMEMBERED_TEXTS = 4096  # some 2 KB each; of texts as long as the limits allow, ten times that


class _HistorySegment(NamedTuple):
    """A segment of the history: its items' rows."""

    rows: list[int]
    weight: float


class _Window(NamedTuple):
    """How much of a history a space sees; most spaces share one."""

    max_events: int
    recency: float


def _aged_segments(items: Sequence[list[int]], means: Sequence[float], recency: float) -> list[_HistorySegment]:
    """Segments of ``items`` (rows) with weights ``means``, less the older they are; the newest is the last."""
    ages = range(len(items) - 1, -1, -1)
    weights = [recency**age * mean for age, mean in zip(ages, means, strict=True)]
    # a weight too small for the wire is none
    heard = (np.array(weights, dtype=np.float32) > 0).tolist()
    return [
        _HistorySegment(rows, weight) for rows, weight, is_heard in zip(items, weights, heard, strict=True) if is_heard
    ]


class SegmentPlanner:
    """Plans the segments of users. ``lookups`` are of the history's spaces."""

    def __init__(
        self,
        index: ItemIndex,
        config: SegmentsConfig,
        template: Template,
        tokenize: Callable[[str], list[int]],
        lookups: dict[str, Lookup],
    ) -> None:
        self._index = index
        self._config = config
        self._template = template
        self._tokenize = tokenize
        self._lookups = lookups
        channels = config.channels()
        self._channels = {channel.name: position for position, channel in enumerate(channels)}
        self._windows = {
            channel.space: _Window(channel.max_events, channel.recency)
            for channel in channels
            if channel.source == "history"
        }
        # A segment that comes again is as long to tokenise as to score with a hundred items.
        self._text_encoding = lru_cache(_REMEMBERED_TEXTS)(self._encode_text)
        self._cutter = HistoryCutter(config.history, index.item_ids, index.tokens.lengths)

    def plan(self, context: UserContext, row: int) -> UserPlan:
        """Raises a RequestError naming the user's ``row`` if the context cannot be used."""
        check_context(context, self._config.limits, row)
        user = UserPlan()
        if context.item_ids:
            self._plan_history(context, user, row)
        self._plan_texts(context, user, row)
        if not user.labels:
            raise EmptyRequestError(
                f"user {row}: nothing to score by: {len(context.texts)} texts, {len(context.item_ids)} history items "
                f"({user.unknown} not in the catalogue) give no segment with a weight above 0"
            )
        limit = self._config.limits.max_segments
        if len(user.labels) > limit:
            raise LimitExceededError(f"user {row}: {len(user.labels):,} segments, the limit max_segments is {limit:,}")
        return user

    def _plan_history(self, context: UserContext, user: UserPlan, row: int) -> None:
        rows = self._index.rows(context.item_ids)
        known = np.flatnonzero(rows >= 0)  # positions of the events whose items the catalogue has
        user.unknown = len(rows) - len(known)
        if user.unknown and context.reject_unknown:
            unknown = [context.item_ids[position] for position in np.flatnonzero(rows < 0)]
            raise UnknownItemError(f"user {row}: {describe_ids(unknown)} of the history not in the catalogue")
        if not self._config.history.spaces:
            return
        rows = rows[known]
        timestamps = None if context.timestamps is None else np.asarray(context.timestamps, dtype=np.int64)[known]
        cut: dict[_Window, list[_HistorySegment]] = {}
        for space, window in self._windows.items():
            if window not in cut:
                blocks = self._cutter.newest(rows, timestamps, window.max_events)
                items = [rows[start:end].tolist() for start, end in blocks]
                cut[window] = _aged_segments(items, self._block_weights(context, blocks, known), window.recency)
            if self._index.spaces[space].moments is not None:
                self._add_moment(context.timestamp, cut[window], space, user)
            elif space == TEXT_SPACE and self._config.history.cut != "item":
                self._add_encoded(cut[window], user)
            else:
                self._add_looked_up(cut[window], space, user)

    def _block_weights(self, context: UserContext, blocks: Sequence[Block], known: NDArray[np.int64]) -> list[float]:
        """The mean weight of each block's events. An event is at ``known[event]``."""
        kinds = self._config.history.kinds

        def weight(position: int) -> float:
            sent = 1.0 if context.weights is None else float(context.weights[position])
            return sent if context.kinds is None else sent * kinds.get(context.kinds[position], 1.0)

        return [sum(map(weight, known[start:end].tolist())) / (end - start) for start, end in blocks]

    def _add_moment(
        self, timestamp: int | None, segments: Sequence[_HistorySegment], space: str, user: UserPlan
    ) -> None:
        """One segment that weighs as much as those of the history: what it says keeps its share of a longer one's."""
        of = self._index.spaces[space]
        assert of.moments is not None
        moment = Moment(row := of.moment(timestamp), int(of.moments[row]))
        weight = sum(segment.weight for segment in segments)
        if weight > 0 and self._lookups[space].knows[row]:  # before the first event there is nothing to say
            channel = f"history/{space}"
            user.add(moment, space, self._channels[channel], [f"{channel}:{moment}"], [weight])

    def _add_looked_up(self, segments: Sequence[_HistorySegment], space: str, user: UserPlan) -> None:
        knows = self._lookups[space].knows
        labels: list[str] = []
        weights: list[float] = []
        rows: list[int] = []
        counts: list[int] = []
        for segment in segments:
            known = [row for row in segment.rows if knows[row]]
            if known:  # an item that the space knows nothing of is no segment
                labels.append(self._label(segment, space))
                weights.append(segment.weight)
                rows.extend(known)
                counts.append(len(known))
        if rows:
            source = LookedUp(np.array(rows, dtype=np.int64), np.array(counts, dtype=np.int64))
            user.add(source, space, self._channels[f"history/{space}"], labels, weights)

    def _add_encoded(self, segments: Sequence[_HistorySegment], user: UserPlan) -> None:
        for segment in segments:
            parts = [self._index.token_ids(row).tolist() for row in segment.rows]
            source = self._plan_encoding([part for part in parts if part], user)
            if source is not None:
                channel = self._channels[f"history/{TEXT_SPACE}"]
                user.add(source, TEXT_SPACE, channel, [self._label(segment, TEXT_SPACE)], [segment.weight])

    def _label(self, segment: _HistorySegment, space: str) -> str:
        return f"history/{space}:" + "+".join([self._index.item_ids[row] for row in segment.rows])

    def _plan_texts(self, context: UserContext, user: UserPlan, row: int) -> None:
        seen: dict[str, int] = {}
        for text in context.texts:
            name = text.name or next(iter(self._config.texts))  # a text without a name is the first that is configured
            config = self._config.texts.get(name)
            if config is None:
                known = ", ".join(self._config.texts)
                raise InvalidArgumentError(f"user {row}: no text segment is called {name!r}: there are {known}")
            source, truncated = self._text_encoding(text.text, config.token_limit)
            user.truncated += truncated
            channel = f"{name}/{TEXT_SPACE}"
            seen[channel] = seen.get(channel, 0) + 1
            label = channel if seen[channel] == 1 else f"{channel}:{seen[channel]}"
            if source is not None and text.weight > 0:
                user.add(source, TEXT_SPACE, self._channels[channel], [label], [text.weight])

    def _encode_text(self, text: str, token_limit: int) -> tuple[Encoded | None, int]:
        """A text's source, None if it has no tokens, and how many of its tokens were cut off."""
        ids = self._tokenize(text)
        room = min(token_limit, self._template.room(1))
        return (self._encoded([ids[:room]]) if ids[:room] else None), max(len(ids) - room, 0)

    def _plan_encoding(self, parts: Sequence[Sequence[int]], user: UserPlan) -> Encoded | None:
        """Parts that do not fit one input together lose tokens at the end, which the answer counts."""
        fitting = self._template.fitting(parts)
        user.truncated += sum(map(len, parts)) - sum(map(len, fitting))
        return self._encoded(fitting) if fitting else None

    def _encoded(self, parts: Sequence[Sequence[int]]) -> Encoded:
        composed = self._template.compose(parts)
        return Encoded(composed, segment_key(self._index.encoder_id, composed.input_ids))
