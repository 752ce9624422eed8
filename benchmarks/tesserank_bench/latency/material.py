"""Whom and what is asked: users and candidates out of a real catalogue, and texts that were never sent before."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.errors import DataError

SEGMENTS = 5  # of a user, where nothing else is said
SEGMENT_TOKENS = 32  # of each of them
HISTORY_EVENTS = 2_000  # the longest history that is sent
EVENT_GAPS_S = (20, 900)
LAST_EVENT = 1_700_000_000  # Unix seconds; fixed, or two runs would not send the same
MIXED_ITEMS = 6  # at most, of a session of mixed length
MIXED_TOKENS = (4, 128)  # fewest and most of it
_NONCE_WORDS = 3
_TRIES = 1_000


class FreshTexts:
    """Texts of an exact number of tokens, made of a catalogue's own words; no two of them have the same tokens.

    Three words drawn at random stand in front, then come the words of items drawn at random, as they follow each other
    there; words that would exceed the length are passed over.
    """

    def __init__(self, tokenizer: TextTokenizer, texts: Sequence[str], rng: np.random.Generator) -> None:
        words = [text.split() for text in texts]
        self._items = [item for item in words if item]
        self._tokenizer = tokenizer
        self._rng = rng
        distinct = sorted({word for item in self._items for word in item})
        self._lengths = {word: len(ids) for word, ids in zip(distinct, tokenizer.many(distinct), strict=True)}
        self._nonces = [word for word in distinct if self._lengths[word] <= 2]
        self._seen: set[tuple[int, ...]] = set()

    def make(self, tokens: int) -> str:
        """A text of exactly ``tokens`` tokens. Raises DataError if the catalogue's words do not give one more."""
        for _ in range(_TRIES):
            text = " ".join(self._words(tokens))
            ids = tuple(self._tokenizer(text))
            if len(ids) == tokens and ids not in self._seen:
                self._seen.add(ids)
                return text
        raise DataError(f"{_TRIES} tries gave no new text of {tokens} tokens: the catalogue has too few words")

    def tokens(self, text: str) -> int:
        """How many tokens a text has."""
        return len(self._tokenizer(text))

    def _words(self, tokens: int) -> list[str]:
        chosen: list[str] = []
        left = tokens
        for word in self._stream():
            length = self._lengths[word]
            if 0 < length <= left:
                chosen.append(word)
                left -= length
            if left == 0:
                break
        return chosen

    def _stream(self) -> list[str]:
        """Words to choose from: a few at random, then those of more items than any text has room for."""
        nonce = [self._nonces[i] for i in self._rng.integers(len(self._nonces), size=_NONCE_WORDS)]
        items = [self._items[i] for i in self._rng.integers(len(self._items), size=60)]
        return [*nonce, *(word for item in items for word in item)]


@dataclass(frozen=True)
class Context:
    """What a user's text segments are: how many, and of how many tokens each, special tokens not counted."""

    segments: int = SEGMENTS
    tokens: int = SEGMENT_TOKENS


@dataclass(frozen=True)
class BenchUser:
    """One user: the texts of their segments, their long history of items, and what is ranked for them."""

    segments: tuple[str, ...]
    history: tuple[str, ...]  # item ids, oldest first, up to HISTORY_EVENTS of them
    timestamps: tuple[int, ...]  # Unix seconds, of the history
    candidates: Mapping[int, tuple[str, ...]]  # by their number

    @property
    def items(self) -> tuple[str, ...]:
        """The newest of the history: as many items as there are text segments."""
        return self.history[-SEGMENTS:]

    @property
    def fewest(self) -> tuple[str, ...]:
        """The smallest of the sets of candidates."""
        return self.candidates[min(self.candidates)]


@dataclass(frozen=True)
class Material:
    """What a run sends: equal seeds give equal material, in equal order."""

    texts: Mapping[str, str]  # of each item, by id; only items that have one
    users: Sequence[BenchUser]
    fresh: FreshTexts
    context: Context = Context()

    @classmethod
    def draw(
        cls,
        texts: Mapping[str, str],
        tokenizer: TextTokenizer,
        users: int,
        candidates: Sequence[int],
        seed: int,
        context: Context = Context(),
    ) -> Material:
        """Users and candidates of a catalogue. Raises DataError if it has fewer items than candidates are asked for."""
        texts = {item: text for item, text in texts.items() if text.split()}
        if max(candidates) > len(texts):
            raise DataError(f"{max(candidates):,} candidates of a catalogue of {len(texts):,} items with a text")
        rng = np.random.default_rng(seed)
        fresh = FreshTexts(tokenizer, list(texts.values()), rng)
        ids = list(texts)
        drawn = [_draw_user(ids, fresh, candidates, rng, context) for _ in range(users)]
        return cls(texts, drawn, fresh, context)

    def user(self, turn: int) -> BenchUser:
        """The user of a turn: they take turns."""
        return self.users[turn % len(self.users)]

    def fresh_segment(self) -> str:
        """A segment that nobody has had before."""
        return self.fresh.make(self.context.tokens)

    def session_tokens(self, rng: np.random.Generator) -> int:
        """How long the text of a session is: the tokens of one to six items of the catalogue, MIXED_TOKENS at most."""
        count = int(rng.integers(1, MIXED_ITEMS, endpoint=True))
        items = [self._all_texts[row] for row in rng.integers(len(self._all_texts), size=count)]
        return min(max(sum(map(self.fresh.tokens, items)), MIXED_TOKENS[0]), MIXED_TOKENS[1])

    @cached_property
    def _all_texts(self) -> list[str]:
        return list(self.texts.values())

    def pairs(self, user: BenchUser, candidates: int) -> tuple[str, list[str]]:
        """What a cross-encoder reads: the text of all segments, and the candidates' texts."""
        return " ".join(user.segments), [self.texts[item] for item in user.candidates[candidates]]


def read_texts(catalogue: Path) -> dict[str, str]:
    """Text of each item of a catalogue (.jsonl.gz with ``item_id`` and ``text``), by id."""
    with gzip.open(catalogue, "rt", encoding="utf-8") as lines:
        return {row["item_id"]: row["text"] for row in map(json.loads, lines)}


def _draw_user(
    ids: Sequence[str], fresh: FreshTexts, sizes: Sequence[int], rng: np.random.Generator, context: Context
) -> BenchUser:
    def some(count: int, replace: bool = False) -> tuple[str, ...]:
        return tuple(ids[row] for row in rng.choice(len(ids), count, replace=replace).tolist())

    gaps = rng.integers(*EVENT_GAPS_S, size=HISTORY_EVENTS)
    return BenchUser(
        segments=tuple(fresh.make(context.tokens) for _ in range(context.segments)),
        history=some(HISTORY_EVENTS, replace=len(ids) < HISTORY_EVENTS),
        timestamps=tuple((LAST_EVENT - np.cumsum(gaps)[::-1]).tolist()),
        candidates={size: some(size) for size in sizes},
    )
