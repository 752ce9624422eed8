"""The requests of a run. The j-th request of the i-th user of a kind depends on the options and nothing else."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tesserank.errors import ConfigError, DataError
from tesserank_client import Event, Request
from tesserank_loadtest.event_log import History, read_histories
from tesserank_loadtest.items import read_item_ids, read_lines
from tesserank_loadtest.plan import WorkloadOptions

ZIPF_EXPONENT = 1.0  # of an item's popularity by its rank, as in most catalogues
# Gaps between events: half below ten minutes, so in one session, and a tail of days between sessions.
GAP_MEDIAN_S = 600.0
GAP_SIGMA = 2.5
LAST_EVENT = 1_700_000_000  # Unix seconds; fixed, or two runs would not send the same
# What the cross-encoder reads: the index has no texts, and its cost depends on their length alone.
WORDS = ("soft", "daily", "blue", "cotton", "classic", "large", "night", "cream", "red", "leather", "long", "story")
WORDS_OF_ITEM = (6, 18)  # fewest and most


@dataclass(frozen=True)
class CrossEncoderRequest:
    """The arguments of ``Client.cross_encode``."""

    history_text: str
    candidate_texts: tuple[str, ...]


class Workload:
    """Endless streams of requests, one for each user of a run.

    Args:
        options: What is requested; the paths in it are read already.
        item_ids: The catalogue.
        queries: Texts, of which every request carries one; none sends no text.
        histories: Real histories; without any they are drawn: popular items, by Zipf's law.

    Raises:
        ConfigError: More candidates than items, or more results than candidates.
    """

    def __init__(
        self,
        options: WorkloadOptions,
        item_ids: Sequence[str],
        queries: Sequence[str] = (),
        histories: Sequence[History] = (),
    ) -> None:
        _check_bounds(options, len(item_ids))
        self._options = options
        self._item_ids = item_ids
        self._queries = queries
        self._histories = histories
        self._by_popularity = np.random.default_rng(options.seed).permutation(len(item_ids))
        shares = np.arange(1, len(item_ids) + 1, dtype=np.float64) ** -ZIPF_EXPONENT
        self._cumulative_shares = np.cumsum(shares) / shares.sum()

    def recommend_requests(self, kind: str, user: int) -> Iterator[Request]:
        """What the ``user``-th (from 0) of the users called ``kind`` asks ``recommend``, in order."""
        rng = self._generator(kind, user)
        while True:
            yield Request(
                history=self._history(rng),
                texts=self._queries[int(rng.integers(len(self._queries)))] if self._queries else (),
                candidates=self._candidates(rng),
                top_k=self._options.top_k,
            )

    def cross_encoder_requests(self, kind: str, user: int) -> Iterator[CrossEncoderRequest]:
        """What the ``user``-th (from 0) of the users called ``kind`` asks ``cross_encoder``, in order.

        Raises ConfigError for a run without a number of candidates.
        """
        candidates = self._options.candidates
        if candidates is None:
            raise ConfigError("the cross-encoder takes a forward pass a candidate: give a number with --candidates")
        rng = self._generator(kind, user)
        while True:
            events = int(rng.integers(1, self._options.max_history, endpoint=True))
            history = ". ".join(_item_text(rng) for _ in range(events))
            yield CrossEncoderRequest(history, tuple(_item_text(rng) for _ in range(candidates)))

    def _generator(self, kind: str, user: int) -> np.random.Generator:
        return np.random.default_rng([self._options.seed, zlib.crc32(kind.encode()), user])

    def _history(self, rng: np.random.Generator) -> History:
        if not self._histories:
            return self._drawn_history(rng)
        # A real user at some moment of theirs: everything up to a random event.
        history = self._histories[int(rng.integers(len(self._histories)))]
        end = int(rng.integers(1, len(history), endpoint=True))
        return history[max(0, end - self._options.max_history) : end]

    def _drawn_history(self, rng: np.random.Generator) -> History:
        events = int(rng.integers(1, self._options.max_history, endpoint=True))
        ranks = np.searchsorted(self._cumulative_shares, rng.random(events), side="right")
        # rounding may leave the last cumulative share below 1, and a draw above it
        rows = self._by_popularity[np.minimum(ranks, len(self._item_ids) - 1)]
        ages = np.cumsum(rng.lognormal(math.log(GAP_MEDIAN_S), GAP_SIGMA, events))[::-1]
        return tuple(
            Event(self._item_ids[row], LAST_EVENT - int(age))
            for row, age in zip(rows.tolist(), ages.tolist(), strict=True)
        )

    def _candidates(self, rng: np.random.Generator) -> tuple[str, ...] | None:
        if self._options.candidates is None:
            return None
        rows = rng.choice(len(self._item_ids), self._options.candidates, replace=False)
        return tuple(self._item_ids[row] for row in rows.tolist())


def load_workload(options: WorkloadOptions) -> Workload:
    """The workload with all that its options name read.

    Raises:
        DataError, ArtifactError: A file cannot be read or used.
        ConfigError: The options ask for more than there is.
    """
    item_ids = read_item_ids(options.items)
    queries = read_lines(options.queries, "queries") if options.queries else []
    if options.queries and not queries:
        raise DataError(f"{options.queries} holds no query: leave out --queries to send no text")
    histories = read_histories(options.events, frozenset(item_ids)) if options.events else ()
    return Workload(options, item_ids, queries, histories)


def _check_bounds(options: WorkloadOptions, items: int) -> None:
    if options.candidates is not None and options.candidates > items:
        raise ConfigError(
            f"--candidates {options.candidates:,} of a catalogue of {items:,} items: give fewer, or `catalogue`"
        )
    rankable = items if options.candidates is None else options.candidates
    if options.top_k is not None and options.top_k > rankable:
        raise ConfigError(f"--top-k {options.top_k:,} of {rankable:,} candidates: give a smaller one")


def _item_text(rng: np.random.Generator) -> str:
    fewest, most = WORDS_OF_ITEM
    count = int(rng.integers(fewest, most, endpoint=True))
    return " ".join(WORDS[word] for word in rng.integers(len(WORDS), size=count).tolist())
