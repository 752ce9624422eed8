"""What is taken from a real catalogue: its items' token vectors, and texts of users as they come to the encoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tesserank.artifact.bundle import open_template
from tesserank.artifact.layout import Layout
from tesserank.encoding.batch import Encode, encode_composed
from tesserank.encoding.template import Composed, Template
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.index import load_index
from tesserank.maxsim.ragged import Ragged
from tesserank.segments.config import TEXT_SPACE
from tesserank_bench.kernels.plan import BASE
from tesserank_bench.kernels.task import Task
from tesserank_bench.latency.material import FreshTexts, Material


@dataclass(frozen=True)
class Texts:
    """Texts for the encoder, and what they are composed to."""

    texts: tuple[str, ...]
    composed: tuple[Composed, ...]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each, special ones included: what the encoder has to read."""
        return np.array([len(composed.input_ids) for composed in self.composed])

    @property
    def tokens(self) -> int:
        """Of all of them."""
        return int(self.lengths.sum())

    def save(self, path: Path) -> None:
        """``ids`` and ``offsets``, as ``contestants.encoders`` reads them."""
        path.parent.mkdir(parents=True, exist_ok=True)
        offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        np.savez(path, ids=np.concatenate([composed.input_ids for composed in self.composed]), offsets=offsets)


class Catalogue:
    """An artefact with float vectors, and the texts of its catalogue."""

    def __init__(self, artifact: Path, texts: dict[str, str], seed: int) -> None:
        self.artifact = artifact
        self.template: Template = open_template(artifact)
        self._tokenizer = TextTokenizer(Layout(artifact).tokenizer)
        self._rng = np.random.default_rng(seed)
        real = {item: text for item, text in texts.items() if text.split()}
        self._material = Material(real, (), FreshTexts(self._tokenizer, list(real.values()), self._rng))

    def segments(self, count: int) -> Texts:
        """Texts of exactly ``BASE.tokens`` tokens, as the segments of users that the latency benchmark ranks for."""
        return self._compose([self._material.fresh.make(BASE.tokens) for _ in range(count)])

    def sessions(self, count: int) -> Texts:
        """Texts of mixed lengths: one to six items of the catalogue."""
        lengths = [self._material.session_tokens(self._rng) for _ in range(count)]
        return self._compose([self._material.fresh.make(length) for length in lengths])

    def task(self, users: int, encode: Encode) -> Task:
        """The vectors of every item that has some, and users of ``BASE.segments`` encoded segments."""
        items = load_index(Layout(self.artifact).index).spaces[TEXT_SPACE].items.decode()
        # An item without a text has one vector of zeros, which cannot be normalised, as some libraries do.
        known = np.add.reduceat(np.abs(items.vectors).sum(axis=1), items.offsets[:-1]) > 0
        texts = self.segments(users * BASE.segments)
        vectors = encode_composed(texts.composed, self.template, encode)
        queries = np.stack(vectors).reshape(users, BASE.segments, BASE.tokens, -1)
        return Task(queries, shuffled(items, np.flatnonzero(known), self._rng))

    def _compose(self, texts: list[str]) -> Texts:
        return Texts(tuple(texts), tuple(self.template.compose([self._tokenizer(text)]) for text in texts))


def shuffled(items: Ragged, rows: NDArray[np.int64], rng: np.random.Generator) -> Ragged:
    """The items of ``rows`` in random order: the first of them are then a sample of the catalogue."""
    return items.take(rng.permutation(rows))
