"""The requests of a run, in one sequence: users act one after the other, and ask before they act.

The j-th request depends on the options and nothing else. What is cached when it is sent follows from what was sent
before: a user who comes back brings segments that are known, a new event or query one that may not be.
"""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tesserank.errors import ConfigError, DataError
from tesserank_client import Event, Request
from tesserank_loadtest.behaviour import Act, Zipf, synthetic_acts
from tesserank_loadtest.event_log import read_acts
from tesserank_loadtest.items import read_item_ids, read_lines
from tesserank_loadtest.made_up import Candidates, make_up_text
from tesserank_loadtest.plan import Model, WorkloadOptions

WORDS_OF_ITEM = (6, 18)  # fewest and most, of what the cross-encoder reads
NEW_SESSION_S = 86_400  # between the events of a zero-hit history: every event a session of its own

History = tuple[Event, ...]


@dataclass(frozen=True)
class CrossEncoderRequest:
    """The arguments of ``Client.cross_encode``."""

    history_text: str
    candidate_texts: tuple[str, ...]


Prepared = Request | CrossEncoderRequest


@dataclass(frozen=True)
class Turn:
    """A user's moment to ask: the number of the request (from 0), what the user did so far, and when this happens."""

    number: int
    history: History
    query: str | None
    timestamp: float | None


class Workload:
    """All requests of a run.

    Args:
        options: What is requested; the paths in it are read already.
        item_ids: The catalogue.
        queries: Texts, most frequent first; without any they are made up.
        log: Real events by time; without any they are drawn.

    Raises:
        ConfigError: More candidates than items, or more results than candidates.
        DataError: A log of which nothing is left after its past.
    """

    def __init__(
        self, options: WorkloadOptions, item_ids: Sequence[str], queries: Sequence[str] = (), log: Sequence[Act] = ()
    ) -> None:
        _check_bounds(options, len(item_ids))
        self._options = options
        self._scenario = options.scenario
        self._item_ids = item_ids
        self._queries = queries
        self._log = log
        self._past = int(len(log) * self._scenario.past_share) if log else self._scenario.sessions.past_events
        if log and self._past >= len(log):
            raise DataError(f"past_share = {self._scenario.past_share} leaves none of the log's {len(log):,} events")
        self._ranks = Zipf(len(queries) or self._scenario.queries.distinct, self._scenario.queries.zipf)
        candidates = self._scenario.candidates
        self._candidates = None if candidates is None else Candidates(item_ids, candidates, options.seed)

    def turns(self) -> Iterator[Turn]:
        """The users' turns from the beginning, endless: a log that has ended begins again after its past."""
        numbers = itertools.count()
        if self._options.zero_hit:
            yield from map(self._unseen, numbers)
        while True:
            yield from self._lap(numbers)

    def stretch(self, count: int) -> list[Turn]:
        """The first ``count`` turns. Raises ConfigError when a log has fewer: its time does not begin again."""
        turns = self._lap(itertools.count()) if self._log and not self._options.zero_hit else self.turns()
        first = list(itertools.islice(turns, count))
        if len(first) < count:
            raise ConfigError(
                f"{count:,} requests to replay, but the log has {len(first):,} after its past: give a lower --rate, a "
                "shorter --duration or a smaller past_share"
            )
        return first

    def prepare(self, turn: Turn, model: Model) -> Prepared:
        """What is asked of a model."""
        return self.recommend(turn) if model == "recommend" else self.cross_encode(turn)

    def recommend(self, turn: Turn) -> Request:
        """What is asked of ``recommend``."""
        chosen = None if self._candidates is None else self._candidates.of(turn.number)
        return Request(turn.history, turn.query or (), chosen, top_k=self._scenario.top_k)

    def cross_encode(self, turn: Turn) -> CrossEncoderRequest:
        """What is asked of ``cross_encoder``: as many texts as the history and the candidates have items.

        Raises ConfigError for a run without a number of candidates.
        """
        candidates = self._scenario.candidates
        if candidates is None:
            raise ConfigError("the cross-encoder takes a forward pass a candidate: give a number with --candidates")
        name = f"{self._options.seed}, request {turn.number}"
        history = ". ".join(
            [make_up_text(f"{name}, event {at}", WORDS_OF_ITEM) for at in range(max(1, len(turn.history)))]
        )
        texts = [make_up_text(f"{name}, candidate {at}", WORDS_OF_ITEM) for at in range(candidates)]
        return CrossEncoderRequest(history, tuple(texts))

    def _lap(self, numbers: Iterator[int]) -> Iterator[Turn]:
        sessions = self._scenario.sessions
        acts = iter(self._log) if self._log else synthetic_acts(sessions, self._item_ids, self._options.seed)
        histories: dict[str, deque[Event]] = defaultdict(lambda: deque(maxlen=self._scenario.max_history))
        queries = self._query_stream()
        for count, act in enumerate(acts):
            history = histories[act.user]
            if count >= self._past:
                query = next(queries)
                if history or query:  # who has done nothing yet and says nothing cannot be recommended anything
                    yield Turn(next(numbers), tuple(history), query, act.timestamp)
            moment = None if act.timestamp is None else int(act.timestamp)
            history.append(Event(act.item, moment, act.kind))

    def _query_stream(self) -> Iterator[str | None]:
        rng = np.random.default_rng([self._options.seed, 0x0E47])
        share = self._scenario.queries.share
        while True:
            carries, ranks = rng.random(1024) < share, self._ranks.draw(rng, 1024)
            for carried, rank in zip(carries.tolist(), ranks.tolist(), strict=True):
                yield self._query(rank) if carried else None

    def _query(self, rank: int) -> str:
        return self._queries[rank] if self._queries else self._make_up(rank)

    def _make_up(self, number: int) -> str:
        """The number makes it differ from all others."""
        return f"{make_up_text(f'{self._options.seed}, query {number}', self._scenario.queries.words)} {number}"

    def _unseen(self, number: int) -> Turn:
        """A user of whom no segment was ever sent: a text of its own, and a history that nobody else has."""
        rng = np.random.default_rng([self._options.seed, 0x25E0, number])
        rows = rng.integers(len(self._item_ids), size=self._scenario.max_history).tolist()
        end = 1_700_000_000
        moments = range(end - NEW_SESSION_S * len(rows), end, NEW_SESSION_S)
        history = tuple([Event(self._item_ids[row], at) for row, at in zip(rows, moments, strict=True)])
        query = self._make_up(number) if self._scenario.queries.share else None
        return Turn(number, history, query, None)


def load_workload(options: WorkloadOptions) -> Workload:
    """The workload with all that its options name read.

    Raises:
        DataError, ArtifactError: A file cannot be read or used.
        ConfigError: The options ask for more than there is.
    """
    item_ids = read_item_ids(options.items)
    queries = read_lines(options.queries, "queries") if options.queries else []
    if options.queries and not queries:
        raise DataError(f"{options.queries} holds no query: leave out --queries to make some up")
    log = read_acts(options.events, frozenset(item_ids)) if options.events else ()
    return Workload(options, item_ids, queries, log)


def _check_bounds(options: WorkloadOptions, items: int) -> None:
    candidates, top_k = options.scenario.candidates, options.scenario.top_k
    if candidates is not None and candidates > items:
        raise ConfigError(f"{candidates:,} candidates of a catalogue of {items:,} items: give fewer with --candidates")
    rankable = items if candidates is None else candidates
    if top_k is not None and top_k > rankable:
        raise ConfigError(f"the best {top_k:,} of {rankable:,} candidates: give a smaller --top-k")
