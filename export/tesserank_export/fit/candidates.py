"""The spaces that a history may be scored in, and the variants of each: what they are learned with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from tesserank.segments.config import (
    IDF,
    PROJECTIONS,
    RELEVANCE,
    RELEVANT_COMPONENTS,
    TEXT_SPACE,
    HistorySpace,
    ItemsConfig,
    LearnedConfig,
    SegmentsConfig,
)
from tesserank_export.collaborative import learn
from tesserank_export.events import Events
from tesserank_export.fit.asked import Asked, AskedItems, AskedTexts, CaseSegments
from tesserank_export.fit.cases import Cases
from tesserank_export.fit.scoring import SpaceScores, Way
from tesserank_export.relevance import neighbours, relevant_components, sampled
from tesserank_export.spaces import make_learned_space
from tesserank_export.text_space import Texts, make_text_space, projected, token_weights

# How far back a space of one vector an item may look, beside [history] max_events: more segments cost it little.
LONG_HISTORY = 50
# The first of a list is where the search begins: it stays unless another is better beyond doubt (see ``choice``).
DIMENSIONS = (128, 256, 512)
PENALTIES = (100.0, 30.0, 300.0)
REGRESSION_DIMENSIONS = (256, 512)
HALF_LIVES = (0.0, 0.3, 0.1, 0.03)  # of the log's span; 0: events of all times count alike
TREND_HALF_LIVES = (0.02, 0.01, 0.05)  # the same: of a year, 7, 4 and 18 days
TREND_DIMENSIONS = 64
TREND_RECENCY = 0.95
POPULARITY, TREND = "popularity", "trend"
FACTORISATIONS = ("factorisation", "cooccurrence")
REGRESSIONS = ("ease", "transitions")


@dataclass(frozen=True)
class Candidate:
    """A space that may be used. ``settings``: how it is learned; of text, what its vectors and weights are."""

    name: str
    settings: LearnedConfig | ItemsConfig
    scores: SpaceScores
    way: Way  # to begin with


class Candidates:
    """Learns candidates from ``cases.train`` on demand, and from the ``texts`` of the items."""

    def __init__(
        self, texts: Texts, cases: Cases, config: SegmentsConfig, kind: str, seed: int, threads: int = 1
    ) -> None:
        """``kind``: how learned vectors are stored."""
        self._texts = texts
        self._cases = cases
        self._items = config.items
        self._threads = threads
        self._kind = kind
        self._seed = seed
        self._events = config.history.max_events
        self._n_items = len(texts.items)
        recency, temperature = config.history.recency, config.aggregation.temperature
        self._of_text = _configured_way(config)
        self._of_learned = Way("sum", temperature, recency, self._events)
        self._of_prior = Way("softmax", temperature, recency, self._events)
        self._of_trend = Way("sum", temperature, TREND_RECENCY, LONG_HISTORY)  # keeps its share of long histories

    @cached_property
    def configured_text(self) -> Candidate:
        """The text space with the weights of tokens and the projection that are configured."""
        return self.text(self._items)

    def text(self, items: ItemsConfig) -> Candidate:
        """The text space as an export would make it of ``cases.train``."""
        pairs, tokens, components = neighbours(self._cases.train), self._texts.tokens(), None
        if items.projection == RELEVANT_COMPONENTS:
            components = relevant_components(tokens, self._texts.offsets, sampled(pairs, self._seed))
            tokens = projected(tokens, components)
        weights = token_weights(items.token_weights, self._texts.items, self._texts.vocabulary, pairs)
        space, _ = make_text_space(self._texts, tokens, weights, items, self._seed)
        cases, way = self._cases, self._of_text
        if cases.cut == "item":
            asked: Asked = AskedItems(space, cases, way.max_events)
        else:
            asked = AskedTexts(self._segments, weights, components)
        return Candidate(TEXT_SPACE, items, SpaceScores(space, cases, asked, self._threads), way)

    @cached_property
    def _segments(self) -> CaseSegments:
        """What the encoder makes of segments, whatever tokens weigh."""
        return CaseSegments(self._cases, self._of_text.max_events, self._texts.segments)

    def learned(self, name: str, settings: LearnedConfig) -> Candidate:
        """A space that is learned."""
        learned = learn(name, self._cases.train, self._n_items, settings, self._seed)
        space = make_learned_space(name, learned, self._kind)
        way = {POPULARITY: self._of_prior, TREND: self._of_trend}.get(name, self._of_learned)
        most = max(self._events, LONG_HISTORY)
        return Candidate(name, settings, SpaceScores.of_items(space, self._cases, most), way)

    def variants(self) -> Iterator[tuple[str, Sequence[Sequence[LearnedConfig]]]]:
        """Learned spaces but the priors, each with lists of settings: the first setting of the first list is where to
        begin, and each list is looked through in turn, with what was chosen before.
        """
        for name in FACTORISATIONS:
            yield name, [[LearnedConfig(dim=dim) for dim in self._below(DIMENSIONS)]]
        yield "item2vec", [[LearnedConfig(dim=DIMENSIONS[0])]]
        first, *others = self._below(REGRESSION_DIMENSIONS)
        penalties = [LearnedConfig(dim=first, penalty=penalty) for penalty in PENALTIES]
        for name in REGRESSIONS:
            yield name, [penalties, [LearnedConfig(dim=dim) for dim in others]]

    def priors(self) -> Iterator[Candidate]:
        """Popularity, of events of all times alike and, with timestamps, of the newest more; and then trends."""
        span = _span(self._cases.train)
        for half_life in dict.fromkeys(int(share * span) for share in HALF_LIVES):
            yield self.learned(POPULARITY, LearnedConfig(half_life_s=half_life))
        for half_life in dict.fromkeys(int(share * span) for share in TREND_HALF_LIVES):
            if half_life:
                yield self.learned(TREND, LearnedConfig(dim=TREND_DIMENSIONS, half_life_s=half_life))

    def _below(self, dimensions: Sequence[int]) -> list[int]:
        """Those that are less than there are items, or the first."""
        return [dim for dim in dimensions if dim < self._n_items] or [dimensions[0]]


def _configured_way(config: SegmentsConfig) -> Way:
    """How the text space is aggregated, or would be if it were used."""
    spaces = config.history.spaces
    using = replace(config, history=replace(config.history, spaces={TEXT_SPACE: HistorySpace(), **spaces}))
    channel = using.channels()[list(using.history.spaces).index(TEXT_SPACE)]
    return Way(channel.method, channel.temperature, channel.recency, channel.max_events)


def _span(events: Events) -> int:
    """Seconds from the oldest event to the newest."""
    return int(events.timestamp.max() - events.timestamp.min()) if len(events) else 0


def other_token_weights(items: ItemsConfig) -> list[ItemsConfig]:
    """The text space with tokens that weigh otherwise."""
    return [replace(items, token_weights=kind) for kind in (IDF, RELEVANCE) if kind != items.token_weights]


def other_projections(items: ItemsConfig) -> list[ItemsConfig]:
    """The text space with token vectors by another projection."""
    return [replace(items, projection=kind) for kind in PROJECTIONS if kind != items.projection]
