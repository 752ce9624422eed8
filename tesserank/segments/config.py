"""What a segments file says: which segments a user has, how history is cut, what weighs how much, how scores add up.

``tesserank.segments.reader`` reads one; ``examples/*/segments.toml`` are complete ones.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace

from tesserank.errors import ConfigError
from tesserank.limits import Limits
from tesserank.maxsim.vectors import CLASSES, DEFAULT_KIND
from tesserank.segments import checks

TEXT_SPACE = "text"
COLLABORATIVE_SPACE = "collaborative"
# Spaces that the export learns from events; what each is: export/tesserank_export/collaborative.
LEARNED_SPACES = (
    COLLABORATIVE_SPACE,
    *("factorisation", "cooccurrence", "item2vec", "ease", "transitions", "popularity", "trend"),
)
CUTS = ("item", "session", "content")
METHODS = ("sum", "softmax")
SEARCHES = ("auto", "exhaustive", "pruned")
IDF, RELEVANCE, UNIFORM = TOKEN_WEIGHTS = ("idf", "relevance", "uniform")
ENCODER, RELEVANT_COMPONENTS = PROJECTIONS = ("encoder", "relevant_components")
# A content boundary is known once min_items - 1 more events have happened. With more than 2 of them, it could fall into
# a segment that was already closed for its length, and appending an event would change two segments instead of one.
MAX_MIN_ITEMS = 3


@dataclass(frozen=True)
class ItemsConfig:
    """How an item's text becomes token vectors. ``token_limit`` is in tokens, special tokens not counted."""

    token_limit: int = 32
    pooling_factor: int = 1  # 1: every token keeps its vector; n: about one vector in n is kept (clustered means)
    vectors: str = DEFAULT_KIND  # how the index stores them: see tesserank.maxsim.vectors
    token_weights: str = IDF  # inverse document frequency, relevance by the log, or every token the same
    projection: str = ENCODER  # to token vectors: the encoder's, or that followed by the log's relevant components

    def check(self) -> None:
        checks.one_of(tuple(CLASSES), vectors=self.vectors)
        checks.one_of(TOKEN_WEIGHTS, token_weights=self.token_weights)
        checks.one_of(PROJECTIONS, projection=self.projection)
        checks.at_least(1, token_limit=self.token_limit, pooling_factor=self.pooling_factor)


@dataclass(frozen=True)
class HistorySpace:
    """The history in one space; what is None is as [history] and [aggregation] say for all. A number is a weight."""

    weight: float = 1.0
    method: str | None = None
    temperature: float | None = None
    recency: float | None = None
    max_events: int | None = None

    def check(self) -> None:
        checks.weights(weight=self.weight)
        if self.method is not None:
            checks.one_of(METHODS, method=self.method)
        if self.temperature is not None:
            checks.temperature(self.temperature)
        if self.recency is not None:
            checks.recency(self.recency)
        if self.max_events is not None:
            checks.at_least(1, max_events=self.max_events)


@dataclass(frozen=True)
class HistoryConfig:
    """How a history becomes segments.

    ``cut``: ``item`` (a segment an item; vectors from the index), ``session`` (a boundary where two neighbours are
    more than ``session_gap_s`` seconds apart) or ``content`` (a boundary after an item whose id's hash says so, one in
    ``content_period`` on average). Session and content segments go through the encoder.
    """

    cut: str = "item"
    max_events: int = 10  # the newest segments that hold at most this many events are used
    session_gap_s: int = 1800
    content_period: int = 4
    min_items: int = 2  # of a content segment; at most 3, see check
    max_items: int = 8  # of a session or content segment
    token_limit: int = 128  # of a session or content segment; an item that does not fit begins the next segment
    recency: float = 0.8  # a segment's weight is multiplied by recency ** (its age in segments; the newest has 0)
    kinds: Mapping[str, float] = field(default_factory=dict)  # weight of an event by its kind; others weigh 1
    spaces: Mapping[str, HistorySpace] = field(
        default_factory=lambda: {TEXT_SPACE: HistorySpace(0.5), COLLABORATIVE_SPACE: HistorySpace(1.0)}
    )

    def check(self) -> None:
        checks.one_of(CUTS, cut=self.cut)
        checks.at_least(1, max_events=self.max_events, session_gap_s=self.session_gap_s, token_limit=self.token_limit)
        checks.at_least(1, content_period=self.content_period, min_items=self.min_items, max_items=self.max_items)
        if self.min_items > MAX_MIN_ITEMS:
            raise ConfigError(f"min_items must be at most {MAX_MIN_ITEMS}, not {self.min_items}")
        if self.min_items > self.max_items:
            raise ConfigError(f"min_items {self.min_items} is above max_items {self.max_items}")
        checks.recency(self.recency)
        checks.weights(**{f"kinds.{kind}": weight for kind, weight in self.kinds.items()})
        for space in self.spaces:
            checks.known_space(f"spaces.{space}", space, (TEXT_SPACE, *LEARNED_SPACES))


@dataclass(frozen=True)
class TextConfig:
    """A named text segment: a search query, a profile, a session note."""

    token_limit: int = 32
    weight: float = 1.0

    def check(self) -> None:
        checks.at_least(1, token_limit=self.token_limit)
        checks.weights(weight=self.weight)


@dataclass(frozen=True)
class AggregationConfig:
    """How segment scores become one score: see ``tesserank.maxsim.aggregate``.

    ``temperature`` is in standard deviations of a space's segment scores, so that one number fits every space.
    ``group_by_item`` aggregates inside a session or content segment too: its items are scored one by one.
    """

    method: str = "softmax"
    temperature: float = 2.0
    group_by_item: bool = True

    def check(self) -> None:
        checks.one_of(METHODS, method=self.method)
        checks.temperature(self.temperature)


@dataclass(frozen=True)
class LearnedConfig:
    """How the export learns a space from events; which key is whose: ``export/tesserank_export/collaborative``."""

    dim: int = 0  # 0: the export's --collaborative-dim
    penalty: float = 100.0  # of ease and transitions: the ridge of the regression
    half_life_s: int = 0  # of popularity and trend: an event so many seconds older counts half; 0: as each says

    def check(self) -> None:
        checks.at_least(0, dim=self.dim, half_life_s=self.half_life_s)
        if not (math.isfinite(self.penalty) and self.penalty > 0):
            raise ConfigError(f"penalty must be finite and above 0, not {self.penalty}")


@dataclass(frozen=True)
class SearchConfig:
    """How the whole catalogue is searched, when a request names no candidates.

    ``exhaustive`` scores every item. ``pruned`` scores the ``candidates`` items that look best at first sight (see
    ``tesserank.search``); the export measures what share of the exact answer it finds, and a server does not start if
    that is below ``min_recall``. ``auto`` prunes catalogues of more than ``exhaustive_up_to`` items.
    """

    method: str = "auto"
    exhaustive_up_to: int = 20_000
    candidates: int = 500
    min_recall: float = 0.95

    def check(self) -> None:
        checks.one_of(SEARCHES, method=self.method)
        checks.at_least(1, candidates=self.candidates)
        checks.at_least(0, exhaustive_up_to=self.exhaustive_up_to)
        if not 0.0 <= self.min_recall <= 1.0:
            raise ConfigError(f"min_recall must lie in [0, 1], not {self.min_recall}")

    def prunes(self, items: int) -> bool:
        """Whether a catalogue of so many items is searched pruned."""
        return self.method == "pruned" or (self.method == "auto" and items > self.exhaustive_up_to)


@dataclass(frozen=True)
class Channel:
    """Segments of one source in one space. Segments are aggregated within their channel; channels are added.

    ``recency`` and ``max_events`` are of a history's segments: texts have no age.
    """

    source: str
    space: str
    weight: float
    method: str
    temperature: float  # in standard deviations of the space's segment scores
    recency: float = 1.0
    max_events: int = 1

    @property
    def name(self) -> str:
        return f"{self.source}/{self.space}"


@dataclass(frozen=True)
class SegmentsConfig:
    """A whole segments file."""

    name: str = "default"
    items: ItemsConfig = ItemsConfig()
    history: HistoryConfig = HistoryConfig()
    texts: Mapping[str, TextConfig] = field(default_factory=lambda: {"query": TextConfig(), "profile": TextConfig()})
    aggregation: AggregationConfig = AggregationConfig()
    learned: Mapping[str, LearnedConfig] = field(default_factory=dict)  # by space; those not named have the defaults
    search: SearchConfig = SearchConfig()
    limits: Limits = field(default_factory=Limits)

    def channels(self) -> tuple[Channel, ...]:
        """Every channel a request may have segments in; SEGMENT_CHANNELS holds positions in this tuple."""
        history = [self._history_channel(name, space) for name, space in self.history.spaces.items()]
        own = self.aggregation
        texts = [
            Channel(name, TEXT_SPACE, text.weight, own.method, own.temperature) for name, text in self.texts.items()
        ]
        return (*history, *texts)

    def _history_channel(self, name: str, space: HistorySpace) -> Channel:
        return Channel(
            source="history",
            space=name,
            weight=space.weight,
            method=self.aggregation.method if space.method is None else space.method,
            temperature=self.aggregation.temperature if space.temperature is None else space.temperature,
            recency=self.history.recency if space.recency is None else space.recency,
            max_events=self.history.max_events if space.max_events is None else space.max_events,
        )

    def spaces(self) -> tuple[str, ...]:
        """The spaces that the index must have. Text is always one: items are texts first."""
        return tuple(dict.fromkeys([TEXT_SPACE, *self.history.spaces]))

    def without_space(self, space: str) -> SegmentsConfig:
        """The same, for an artefact that lacks a space, such as a catalogue exported without events."""
        spaces = {name: own for name, own in self.history.spaces.items() if name != space}
        return replace(self, history=replace(self.history, spaces=spaces))

    def in_spaces(self, spaces: Container[str]) -> SegmentsConfig:
        """The same, less the spaces that an index lacks."""
        config = self
        for space in self.spaces():
            if space not in spaces:
                config = config.without_space(space)
        return config
