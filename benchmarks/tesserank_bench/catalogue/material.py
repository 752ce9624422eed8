"""What is searched and for whom: a real catalogue, copies of it, and users of the real log."""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tesserank.artifact.bundle import open_segments, open_template
from tesserank.artifact.layout import Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.encoding.batch import EncoderRows, encode_composed
from tesserank.encoding.cache import SegmentCache
from tesserank.encoding.engine import OnnxEngine
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.files import new_directory
from tesserank.index import ItemIndex, Space, load_index
from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.vectors import quantise
from tesserank.search.fitting import fit_stand_in
from tesserank.search.standins import StandIns, load_stand_ins
from tesserank.segments.config import COLLABORATIVE_SPACE, TEXT_SPACE
from tesserank.serving.embedder import SegmentEmbedder
from tesserank.serving.request import RankingOptions, Text, UserContext
from tesserank.serving.segments import UserSegments
from tesserank_bench.catalogue.plan import THREADS, TOP_K
from tesserank_bench.catalogue.replicated import replicated_texts, replicated_vectors
from tesserank_bench.latency.material import read_texts
from tesserank_bench.latency.served import Dataset

SHARD_ITEMS = 1024
_ROWS = EncoderRows(32)  # a call of the encoder
MIN_DISTINCT_ITEMS = 3  # of a user's log: a history, and an item that is held out
FULL_WINDOWS, HISTORIES, WITHOUT_COPIES, TEXTS = KINDS = (
    "full histories",
    "histories",
    "full histories, no copies",  # of their own items, which otherwise fill the answer
    "texts",
)


@dataclass(frozen=True)
class Query:
    """One user and what they ask for."""

    user: UserSegments
    options: RankingOptions

    @property
    def tokens(self) -> int:
        """Query tokens in the text space."""
        return len(self.user.spaces[TEXT_SPACE].tokens)


class Material:
    """A catalogue of ``count`` items, of which the first are the real ones, and what is searched for in it."""

    def __init__(self, artifact: Path, dataset: Dataset, count: int, work: Path, seed: int) -> None:
        self._artifact = artifact
        self._dataset = dataset
        self._work = work
        self._seed = seed
        self._real = load_index(Layout(artifact).index)
        self._texts = read_texts(dataset.items)
        self._tokenizer = TextTokenizer(Layout(artifact).tokenizer)
        precision = load_manifest(artifact, ()).precision
        self._encode = OnnxEngine.for_precision(Layout(artifact).encoder(precision), precision, THREADS)
        self.config = open_segments(artifact, self._real)
        self._count = count

    def build(self, say: Callable[[str], None]) -> None:
        """Make the catalogue. The vectors of copies are kept in the work directory, as are stand-ins."""
        ids = list(self._real.item_ids)
        texts = replicated_texts([self._texts[item] for item in ids], max(self._count, len(ids)), self._seed)
        limit = self.config.items.token_limit
        copies = [tokens[:limit] for tokens in self._tokenizer.many(texts[len(ids) :])]
        vectors = [self._real.spaces[TEXT_SPACE].items.decode(), *self._encoded(copies, say)]
        self.index = _assembled(self._real, copies, vectors, self._seed)
        self._embedder = SegmentEmbedder(
            self.index, self.config, open_template(self._artifact), self._tokenizer, SegmentCache(1 << 26), self._encode
        )

    def first(self, count: int) -> ItemIndex:
        """The index of the first ``count`` items."""
        if count == len(self.index):
            return self.index
        return ItemIndex(
            index_id=f"{self.index.index_id}-{count}",
            encoder_id=self.index.encoder_id,
            item_ids=self.index.item_ids[:count],
            spaces={
                name: replace(
                    own,
                    items=own.items.take(slice(0, count)),
                    weights=own.weights[: own.items.offsets[count]],
                    queries=None if own.queries is None else own.queries.take(slice(0, count)),
                )
                for name, own in self.index.spaces.items()
            },
            tokens=self.index.tokens.take(slice(0, count)),
            token_weights=self.index.token_weights,
        )

    def stand_ins(self, index: ItemIndex) -> StandIns:
        """As the export fits them; kept by the content that they are fitted on."""
        content = hashlib.sha256(repr(self._seed).encode())
        for space in index.spaces.values():
            for array in (space.items.offsets, *space.items.arrays().values()):
                content.update(np.ascontiguousarray(array).tobytes())
        folder = self._work / "stand-ins" / content.hexdigest()[:16]
        if not folder.is_dir():
            with new_directory(folder) as scratch:
                for name, space in index.spaces.items():
                    fit_stand_in(space, self._seed, THREADS).save(scratch / name)
        return load_stand_ins(folder, index)

    def queries(self, kind: str, count: int) -> list[Query]:
        """So many queries of a kind, or as many as the log has users for."""
        rng = np.random.default_rng(self._seed)
        if kind == TEXTS:
            return [self._text(rng) for _ in range(count)]
        full = kind != HISTORIES
        fewest = self.config.history.max_events if full else 1
        histories = [history for history in self._histories() if len(history) >= fewest]
        chosen = sorted(rng.permutation(len(histories))[:count].tolist())
        return [self._history(histories[position], kind == WITHOUT_COPIES) for position in chosen]

    def _encoded(self, copies: Sequence[list[int]], say: Callable[[str], None]) -> list[Ragged]:
        """Token vectors of token ids, float16 and ragged, a shard at a time."""
        template = open_template(self._artifact)
        shards = []
        for start in range(0, len(copies), SHARD_ITEMS):
            shard = copies[start : start + SHARD_ITEMS]
            content = hashlib.sha256(repr((self._real.encoder_id, shard)).encode()).hexdigest()[:16]
            folder = self._work / "copies" / content
            if not folder.is_dir():
                done = f"{min(start + SHARD_ITEMS, len(copies)):,} of {len(copies):,}"
                say(f"  encoding copies: {done} (kept for the next run)")
                inputs = [template.compose([tokens]) for tokens in shard if tokens]
                with new_directory(folder) as scratch:
                    vectors = np.concatenate(encode_composed(inputs, template, self._encode, _ROWS))
                    np.save(scratch / "vectors.npy", vectors.astype(np.float16))
            shards.append(_padded_with_zero(np.load(folder / "vectors.npy"), shard))
        return shards

    def _histories(self) -> list[list[str]]:
        """Every user's items but the last event, oldest first, if there are enough distinct ones."""
        users: dict[str, list[str]] = {}
        with gzip.open(self._dataset.events, "rt", encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                users.setdefault(row["user_id"], []).append(row["item_id"])
        return [items[:-1] for items in users.values() if len(set(items)) >= MIN_DISTINCT_ITEMS]

    def _history(self, items: Sequence[str], without_copies: bool) -> Query:
        history = [item.encode() for item in items]
        copies = [
            self.index.item_ids[row].encode()
            for original in {int(row) for row in self.index.rows(history)}
            for row in range(original + len(self._real), len(self.index), len(self._real))
        ]
        options = RankingOptions(history=history, exclude=copies if without_copies else [], top_k=TOP_K)
        return Query(self._embed(UserContext(history, timestamps=list(range(len(history))))), options)

    def _text(self, rng: np.random.Generator) -> Query:
        """A text as somebody might ask for an item: about half of the words of one drawn at random."""
        while not (words := self._texts[self._real.item_ids[rng.integers(len(self._real))]].split()):
            pass
        kept = rng.random(len(words)) < 0.5
        kept[rng.integers(len(words))] = True
        text = " ".join(word for word, keep in zip(words, kept, strict=True) if keep)
        name = next(iter(self.config.texts))
        return Query(self._embed(UserContext(texts=[Text(name, text)])), RankingOptions(top_k=TOP_K))

    def _embed(self, context: UserContext) -> UserSegments:
        [user] = self._embedder.embed([context]).segments
        return user


def _padded_with_zero(vectors: NDArray[np.float16], shard: Sequence[list[int]]) -> Ragged:
    """The vectors of a shard's tokens, with the zero vector that an item without tokens has."""
    lengths = np.array([len(tokens) for tokens in shard])
    offsets = np.concatenate([[0], np.cumsum(np.maximum(lengths, 1))])
    padded = np.zeros((offsets[-1], vectors.shape[1]), dtype=np.float16)
    known = np.ones(len(padded), dtype=bool)
    known[offsets[:-1][lengths == 0]] = False
    padded[known] = vectors
    return Ragged(padded, offsets)


def _assembled(real: ItemIndex, copies: Sequence[list[int]], text: Sequence[Ragged], seed: int) -> ItemIndex:
    """The index of the real items and their copies, with the IDF and the scales of the real ones, vectors as stored
    by default.
    """
    count = len(real) + len(copies)
    vectors = Ragged(
        np.concatenate([shard.vectors for shard in text]),
        np.concatenate([[0], np.cumsum(np.concatenate([shard.lengths for shard in text]))]),
    )
    weights = np.concatenate(
        [real.token_weights[tokens] if tokens else np.ones(1) for tokens in copies] or [np.empty(0)]
    )
    own = real.spaces[TEXT_SPACE]
    spaces = {
        TEXT_SPACE: Space(
            TEXT_SPACE,
            quantise("int8", vectors),
            np.concatenate([own.weights, weights]).astype(np.float16).astype(np.float32),
            own.scale,
        )
    }
    if COLLABORATIVE_SPACE in real.spaces:
        behaviour = real.spaces[COLLABORATIVE_SPACE]
        turned = replicated_vectors(behaviour.items.decode().vectors, count, seed)
        items = quantise("int16", Ragged(turned, np.arange(count + 1)))
        spaces[COLLABORATIVE_SPACE] = Space(
            COLLABORATIVE_SPACE, items, np.ones(count, dtype=np.float32), behaviour.scale
        )
    tokens = [real.tokens.item(row) for row in range(len(real))]
    tokens += [np.array(own_tokens, dtype=real.tokens.vectors.dtype).reshape(-1, 1) for own_tokens in copies]
    return ItemIndex(
        index_id=f"{real.index_id}-replicated",
        encoder_id=real.encoder_id,
        item_ids=tuple(_name(real, row) for row in range(count)),
        spaces=spaces,
        tokens=Ragged.of(tokens),
        token_weights=real.token_weights,
    )


def _name(real: ItemIndex, row: int) -> str:
    """The id of a copy says which of its original it is."""
    copy, original = divmod(row, len(real))
    return f"{real.item_ids[original]}~{copy}" if copy else real.item_ids[original]
