"""What is stored and for whom it ranks: a real catalogue in every kind of vectors, and users of its log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.artifact.bundle import open_segments, open_template
from tesserank.artifact.layout import Layout
from tesserank.encoding.cache import SegmentCache
from tesserank.encoding.template import Template
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.index import ItemIndex, Space, load_index
from tesserank.index.by_token import ids_of_vectors
from tesserank.maxsim.ragged import Ragged
from tesserank.segments.config import TEXT_SPACE, SegmentsConfig
from tesserank.serving.embedder import SegmentEmbedder
from tesserank.serving.request import UserContext
from tesserank.serving.segments import UserSegments
from tesserank_bench.real_input import User
from tesserank_export.collaborative import Learned
from tesserank_export.index_steps import stored_kind
from tesserank_export.spaces import make_learned_space, make_space


class Material:
    """A catalogue as the encoder gave it (``exact``), and users whose last events its export did not see."""

    def __init__(
        self,
        exact: ItemIndex,
        config: SegmentsConfig,
        template: Template,
        tokenize: Callable[[str], list[int]],
        users: Sequence[User],
        seed: int,
    ) -> None:
        self.exact = exact
        self.config = config
        self.users = users
        self._template = template
        self._tokenize = tokenize
        self._seed = seed

    @classmethod
    def open(cls, artifact: Path, users: Sequence[User], seed: int) -> Material:
        """Of an artefact whose vectors are stored as float16."""
        exact = load_index(Layout(artifact).index)
        tokenizer = TextTokenizer(Layout(artifact).tokenizer)
        return cls(exact, open_segments(artifact, exact), open_template(artifact), tokenizer, users, seed)

    def vectors(self, space: str) -> Ragged:
        """Those of ``exact`` in float32 [T, d]."""
        return self.exact.spaces[space].items.decode()

    def stored(self, kind: str) -> ItemIndex:
        """The index that an export with ``vectors = kind`` would have made."""
        return replace(
            self.exact, spaces={name: self._stored(space, kind) for name, space in self.exact.spaces.items()}
        )

    def _stored(self, space: Space, kind: str) -> Space:
        vectors, kind = self.vectors(space.name), stored_kind(space.name, kind)
        if space.name != TEXT_SPACE:
            queries = None if space.queries is None else space.queries.decode().vectors
            return make_learned_space(space.name, Learned(vectors.vectors, queries, space.moments), kind)
        vocabulary = len(self.exact.token_weights)
        ids = ids_of_vectors(self.exact.tokens, vectors.offsets, vocabulary)
        assert ids is not None, "items keep every token's vector: the segments file pools none"
        labels = np.where(ids == vocabulary, 0, ids)
        return make_space(space.name, vectors, space.weights, labels, kind, self._seed, vocabulary)

    def segments(self, index: ItemIndex) -> list[UserSegments]:
        """Every user's history as a server with this index would cut it, and look its vectors up."""
        embedder = SegmentEmbedder(
            index, self.config, self._template, self._tokenize, SegmentCache(0), _nothing_to_encode
        )
        contexts = [
            UserContext(
                [event.item_id.encode() for event in history],
                [event.timestamp or 0 for event in history],
                [event.kind or "" for event in history],
            )
            for _, history, _ in self.users
        ]
        return embedder.embed(contexts).segments


def _nothing_to_encode(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> Any:
    raise AssertionError("a history cut by item is looked up in the index")
