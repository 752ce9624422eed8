"""A catalogue small enough to think about, and an encoder whose every call can be counted.

Tokens are the digits of a text ("3 14 1" is three of them), so that tests say exactly what is encoded.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.encoding.batch import EncoderRows
from tesserank.encoding.cache import SegmentCache
from tesserank.encoding.template import Template
from tesserank.index import Categories, ItemIndex, Space
from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.vectors import quantise
from tesserank.segments.config import SegmentsConfig
from tesserank.segments.reader import parse_segments
from tesserank.serving.embedder import SegmentEmbedder
from tesserank.serving.lookup import ARRAYS, TokenForm

VOCABULARY = 60
TEXT_DIM, COLLABORATIVE_DIM = 8, 4
TEMPLATE = Template(prefix=(1,), separator=(2,), suffix=(3,), pad=0, max_tokens=64)
ENCODER_ID = "encoder-1"
TEXTLESS = "i10"  # an item without text: no tokens, one zero vector
LAST = "i2"  # an item that nothing follows: as a segment it has a zero vector in the space transitions
UNSEEN = "i11"  # an item without events: one zero vector in the collaborative space
MOMENTS = (100, 200, 300)  # of the space trend: nothing is known at the first
UP_TO_4 = EncoderRows(4)
ITEMS = tuple(f"i{row}" for row in range(12))


def unit_rows(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Rows scaled to unit length."""
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


class CountingEncoder:
    """ids, mask [rows, L] -> [rows, L, d]: a token's vector depends on the whole row, not on padding or neighbours."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self._table = np.random.default_rng(7).standard_normal((VOCABULARY, TEXT_DIM))

    @property
    def rows(self) -> int:
        """Rows encoded so far."""
        return sum(shape[0] for shape in self.shapes)

    def __call__(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        assert ids.shape == mask.shape
        self.shapes.append(ids.shape)
        context = (ids * mask).sum(axis=1) % VOCABULARY
        return unit_rows(self._table[ids] + 0.3 * self._table[context][:, None])


def tokenize(text: str) -> list[int]:
    return [int(word) for word in text.split()]


def with_queries(
    name: str, items: NDArray[Any], queries: NDArray[Any], kind: str, moments: NDArray[np.int64] | None = None
) -> Space:
    """A space of one vector an item, [n, 1, d], with others for segments."""
    stored, asked = (quantise(kind, Ragged.of(list(vectors))) for vectors in (items, queries))
    return Space(name, stored, np.ones(len(items), dtype=np.float32), scale=0.25, queries=asked, moments=moments)


@cache
def make_index(seed: int = 0, kind: str = "float16") -> ItemIndex:
    """Twelve items in four spaces; text vectors are the encoder's own, stored as ``kind``; every third is a toy.

    In the space transitions items have other vectors as segments; in the space trend, moments are segments.
    """
    rng = np.random.default_rng(seed)
    tokens = [[] if item == TEXTLESS else rng.integers(4, VOCABULARY, rng.integers(1, 6)).tolist() for item in ITEMS]
    encoder, matrices = CountingEncoder(), []
    for part in tokens:
        composed = TEMPLATE.compose([part])
        output = encoder(composed.input_ids[None], np.ones((1, len(composed.input_ids)), dtype=np.int64))[0]
        matrices.append(output[composed.kept] if part else np.zeros((1, TEXT_DIM)))
    idf = rng.uniform(0.2, 3.0, VOCABULARY).astype(np.float16).astype(np.float32)
    weights = np.concatenate([idf[part] if part else np.zeros(1, dtype=np.float32) for part in tokens])
    collaborative = unit_rows(rng.standard_normal((len(ITEMS), COLLABORATIVE_DIM)))
    collaborative[ITEMS.index(UNSEEN)] = 0
    following, followed = (unit_rows(rng.standard_normal((len(ITEMS), 1, COLLABORATIVE_DIM))) for _ in range(2))
    followed[ITEMS.index(LAST)] = 0
    trending = unit_rows(rng.standard_normal((len(ITEMS), 1, COLLABORATIVE_DIM)))
    moments = unit_rows(rng.standard_normal((len(MOMENTS), 1, COLLABORATIVE_DIM)))
    moments[0] = 0
    return ItemIndex(
        index_id="index-1",
        encoder_id=ENCODER_ID,
        item_ids=ITEMS,
        spaces={
            "text": Space("text", quantise(kind, Ragged.of(matrices)), weights, scale=2.0),
            "collaborative": Space(
                "collaborative",
                quantise(kind, Ragged.of(list(collaborative[:, None]))),
                np.ones(len(ITEMS), dtype=np.float32),
                scale=0.5,
            ),
            "transitions": with_queries("transitions", following, followed, kind),
            "trend": with_queries("trend", trending, moments, kind, np.array(MOMENTS)),
        },
        tokens=Ragged.of([np.array(part, dtype=np.uint16).reshape(-1, 1) for part in tokens]),
        token_weights=idf,
        categories=Categories.of(["toy" if row % 3 == 0 else "book" if row % 3 == 1 else None for row in range(12)]),
    )


def make_config(
    cut: str = "item", method: str = "softmax", group_by_item: bool = True, more: str = ""
) -> SegmentsConfig:
    """A segments file with short sessions and texts; ``more`` is TOML appended to it."""
    return parse_segments(f"""
        [history]
        cut = "{cut}"
        session_gap_s = 10
        max_events = 6
        content_period = 2
        [history.kinds]
        like = 2.0
        ignore = 0.0
        [texts.query]
        token_limit = 5
        [texts.profile]
        token_limit = 9
        weight = 0.5
        [aggregation]
        method = "{method}"
        temperature = 0.1
        group_by_item = {str(group_by_item).lower()}
        {more}
    """)


def make_embedder(
    config: SegmentsConfig,
    encoder: CountingEncoder,
    index: ItemIndex | None = None,
    cache: SegmentCache | None = None,
    rows: EncoderRows = UP_TO_4,
    form: TokenForm = ARRAYS,
) -> SegmentEmbedder:
    """An embedder with a cache of its own, if none is given."""
    cache = SegmentCache(1 << 20) if cache is None else cache
    return SegmentEmbedder(index or make_index(), config, TEMPLATE, tokenize, cache, encoder, rows, form)
