"""The segments file: which segments a user has, how history is cut, what weighs how much, how scores are aggregated.

TOML; every table and key is optional, and an unknown one is an error, so that a misspelling cannot pass for a default.
``examples/*/segments.toml`` are complete ones.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from tesserank.errors import ConfigError
from tesserank.limits import Limits
from tesserank.maxsim.vectors import CLASSES, DEFAULT_KIND

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

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
TOKEN_WEIGHTS = ("idf", "uniform")
# A content boundary is known once min_items - 1 more events have happened. With more than 2 of them, it could fall into
# a segment that was already closed for its length, and appending an event would change two segments instead of one.
MAX_MIN_ITEMS = 3
# A soft maximum this sharp is the maximum already; further down, float32 overflows and in the end divides by 0.
MIN_TEMPERATURE = 1e-4

_T = TypeVar("_T")


@dataclass(frozen=True)
class ItemsConfig:
    """How an item's text becomes token vectors. ``token_limit`` is in tokens, special tokens not counted."""

    token_limit: int = 32
    pooling_factor: int = 1  # 1: every token keeps its vector; n: about one vector in n is kept (clustered means)
    vectors: str = DEFAULT_KIND  # how the index stores them: see tesserank.maxsim.vectors
    token_weights: str = "idf"  # inverse document frequency, or every token the same

    def check(self) -> None:
        _one_of(tuple(CLASSES), vectors=self.vectors)
        _one_of(TOKEN_WEIGHTS, token_weights=self.token_weights)
        _at_least(1, token_limit=self.token_limit, pooling_factor=self.pooling_factor)


@dataclass(frozen=True)
class HistorySpace:
    """The history in one space; what is None is as [history] and [aggregation] say for all. A number is a weight."""

    weight: float = 1.0
    method: str | None = None
    temperature: float | None = None
    recency: float | None = None
    max_events: int | None = None

    def check(self) -> None:
        _weights(weight=self.weight)
        if self.method is not None:
            _one_of(METHODS, method=self.method)
        if self.temperature is not None:
            _temperature(self.temperature)
        if self.recency is not None:
            _recency(self.recency)
        if self.max_events is not None:
            _at_least(1, max_events=self.max_events)


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
        _one_of(CUTS, cut=self.cut)
        _at_least(1, max_events=self.max_events, session_gap_s=self.session_gap_s, token_limit=self.token_limit)
        _at_least(1, content_period=self.content_period, min_items=self.min_items, max_items=self.max_items)
        if self.min_items > MAX_MIN_ITEMS:
            raise ConfigError(f"min_items must be at most {MAX_MIN_ITEMS}, not {self.min_items}")
        if self.min_items > self.max_items:
            raise ConfigError(f"min_items {self.min_items} is above max_items {self.max_items}")
        _recency(self.recency)
        _weights(**{f"kinds.{kind}": weight for kind, weight in self.kinds.items()})
        for space in self.spaces:
            _known_space(f"spaces.{space}", space, (TEXT_SPACE, *LEARNED_SPACES))


@dataclass(frozen=True)
class TextConfig:
    """A named text segment: a search query, a profile, a session note."""

    token_limit: int = 32
    weight: float = 1.0

    def check(self) -> None:
        _at_least(1, token_limit=self.token_limit)
        _weights(weight=self.weight)


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
        _one_of(METHODS, method=self.method)
        _temperature(self.temperature)


@dataclass(frozen=True)
class LearnedConfig:
    """How the export learns a space from events; which key is whose: ``export/tesserank_export/collaborative``."""

    dim: int = 0  # 0: the export's --collaborative-dim
    penalty: float = 100.0  # of ease and transitions: the ridge of the regression
    half_life_s: int = 0  # of popularity and trend: an event so many seconds older counts half; 0: as each says

    def check(self) -> None:
        _at_least(0, dim=self.dim, half_life_s=self.half_life_s)
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
        _one_of(SEARCHES, method=self.method)
        _at_least(1, candidates=self.candidates)
        _at_least(0, exhaustive_up_to=self.exhaustive_up_to)
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


def load_segments(path: Path) -> SegmentsConfig:
    """Read a segments file. Raises ConfigError that names the file and the key."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"segments file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"segments file {path} is not UTF-8: byte {error.start}") from error
    try:
        return parse_segments(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def parse_segments(text: str) -> SegmentsConfig:
    """Parse the text of a segments file. Raises ConfigError that names the key."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not TOML: {error}") from error
    _known_keys("the file", table, {f.name for f in fields(SegmentsConfig)})
    sections: dict[str, Any] = {}
    if "name" in table:
        sections["name"] = _typed("name", table["name"], str)
    for key, kind in _SECTIONS.items():
        if key in table:
            sections[key] = _section(key, table[key], kind)
    if "learned" in table:
        learned = _typed("learned", table["learned"], dict)
        for space in learned:
            _known_space(f"learned.{space}", space, LEARNED_SPACES)
        sections["learned"] = MappingProxyType(
            {space: _section(f"learned.{space}", learned[space], LearnedConfig) for space in learned}
        )
    if "texts" in table:
        texts = _typed("texts", table["texts"], dict)
        sections["texts"] = MappingProxyType(
            {name: _section(f"texts.{name}", texts[name], TextConfig) for name in texts}
        )
        for name in texts:
            if name == "history" or "/" in name or not name:
                raise ConfigError(f'texts.{name}: a text segment cannot be called "{name}"')
        if not texts:
            raise ConfigError("texts is empty: name at least one, or leave the table out for query and profile")
    return SegmentsConfig(**sections)


_SECTIONS: Mapping[str, type[Any]] = {
    "items": ItemsConfig,
    "history": HistoryConfig,
    "aggregation": AggregationConfig,
    "search": SearchConfig,
    "limits": Limits,
}


def _section(name: str, value: Any, kind: type[_T]) -> _T:
    table = _typed(name, value, dict)
    defaults = kind()
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    _known_keys(f"[{name}]", table, known)
    values = {key: _typed(f"{name}.{key}", entry, type(getattr(defaults, key))) for key, entry in table.items()}
    if kind is HistoryConfig and "spaces" in values:
        values["spaces"] = {space: _history_space(space, entry) for space, entry in values["spaces"].items()}
    section = kind(**values)
    try:
        if isinstance(section, Limits):
            _at_least(1, **values)
        else:
            section.check()  # type: ignore[attr-defined]
    except ConfigError as error:
        raise ConfigError(f"{name}.{error}") from error
    return section


def _history_space(space: str, entry: Any) -> HistorySpace:
    """A number is a weight; a table says more."""
    name = f"history.spaces.{space}"
    if not isinstance(entry, dict):
        _weights(**{name: entry})
        return HistorySpace(float(entry))
    _known_keys(f"[{name}]", entry, set(_HISTORY_SPACE_TYPES))
    own = HistorySpace(
        **{key: _typed(f"{name}.{key}", value, _HISTORY_SPACE_TYPES[key]) for key, value in entry.items()}
    )
    try:
        own.check()
    except ConfigError as error:
        raise ConfigError(f"{name}.{error}") from error
    return own


_HISTORY_SPACE_TYPES: Mapping[str, type[Any]] = {
    "weight": float,
    "method": str,
    "temperature": float,
    "recency": float,
    "max_events": int,
}


def _typed(name: str, value: Any, kind: type[_T]) -> _T:
    """TOML tells ints from floats and from booleans; people write 1 for 1.0, which is fine, and "1", which is not."""
    if kind is float and type(value) is int:
        return kind(value)  # type: ignore[call-arg]
    if type(value) is not kind:
        raise ConfigError(f"{name} must be a {kind.__name__}, not {value!r}")
    return value


def _known_keys(where: str, table: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise ConfigError(f"unknown key {unknown[0]!r} in {where}: known are {', '.join(sorted(known))}")


def _at_least(minimum: int, **values: int) -> None:
    for name, value in values.items():
        if value < minimum:
            raise ConfigError(f"{name} must be at least {minimum}, not {value}")


def _one_of(allowed: tuple[str, ...], **values: str) -> None:
    for name, value in values.items():
        if value not in allowed:
            raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")


def _known_space(key: str, space: str, known: tuple[str, ...]) -> None:
    if space not in known:
        raise ConfigError(f"{key}: there are the spaces {', '.join(known)}")


def _recency(value: float) -> None:
    if not 0.0 < value <= 1.0:
        raise ConfigError(f"recency must lie in (0, 1], not {value}")


def _temperature(value: float) -> None:
    if not (math.isfinite(value) and value >= MIN_TEMPERATURE):
        raise ConfigError(f"temperature must be finite and at least {MIN_TEMPERATURE}, not {value}")


def _weights(**weights: Any) -> None:
    for name, weight in weights.items():
        if type(weight) not in (int, float) or not math.isfinite(weight) or weight < 0:
            raise ConfigError(f"{name} must be a finite number of at least 0, not {weight!r}")
