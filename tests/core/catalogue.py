"""A catalogue large enough to search: items are mixtures of a few dozen directions, as texts are of topics."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tesserank.index import ItemIndex, Space
from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.vectors import quantise
from tesserank.search.centroids import CentroidVectors
from tesserank.search.pieces import CODES, PieceVectors, piece_width
from tesserank.search.standins import StandIns
from tesserank.segments.config import SegmentsConfig
from tesserank.serving.segments import SpaceTokens, UserSegments
from tests.core.world import unit_rows

ITEMS = 1500
TOPICS = 64
TEXT_DIM, COLLABORATIVE_DIM = 24, 8
TEXTLESS = 7  # the row of an item without text


@cache
def make_catalogue(seed: int = 0) -> tuple[ItemIndex, StandIns]:
    """ITEMS items in two spaces, and what stands in for their vectors.

    In the text space these are the topics that its tokens were drawn around, in the other pieces of some of the items.
    """
    rng = np.random.default_rng(seed)
    topics = unit_rows(rng.standard_normal((TOPICS, TEXT_DIM))).astype(np.float16).astype(np.float32)
    lengths = rng.integers(1, 12, ITEMS)
    lengths[TEXTLESS] = 1
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    codes = rng.choice(TOPICS, offsets[-1], p=rng.dirichlet(np.full(TOPICS, 2.0))).astype(np.uint16)
    tokens = unit_rows(topics[codes] + 0.12 * rng.standard_normal((len(codes), TEXT_DIM)))
    tokens[offsets[TEXTLESS]] = 0
    codes[offsets[TEXTLESS]] = TOPICS
    weights = rng.uniform(0.5, 8.0, len(codes)).astype(np.float16).astype(np.float32)
    behaviour = unit_rows(rng.standard_normal((ITEMS, COLLABORATIVE_DIM)))
    index = ItemIndex(
        index_id="catalogue-1",
        encoder_id="encoder-1",
        item_ids=tuple(f"i{row}" for row in range(ITEMS)),
        spaces={
            "text": Space("text", quantise("int8", Ragged(tokens, offsets)), weights, scale=4.0),
            "collaborative": Space(
                "collaborative",
                quantise("int8", Ragged.of(list(behaviour[:, None]))),
                np.ones(ITEMS, dtype=np.float32),
                scale=2.0,
            ),
        },
        tokens=Ragged(np.zeros((len(codes), 1), dtype=np.uint16), offsets),
        token_weights=np.ones(1, dtype=np.float32),
    )
    centroids = np.concatenate([topics, np.zeros((1, TEXT_DIM), dtype=np.float32)])
    return index, {"text": CentroidVectors(centroids, codes, offsets), "collaborative": some_pieces(behaviour)}


def some_pieces(vectors: NDArray[np.float32]) -> PieceVectors:
    """Pieces of the first CODES of ``vectors`` [N, d], and for each vector the nearest of them."""
    width = piece_width(vectors.shape[1])
    cut = vectors.reshape(len(vectors), -1, width).transpose(1, 0, 2)  # [P, N, w]
    books = cut[:, :CODES].astype(np.float16).astype(np.float32)
    distances = ((cut[:, :, None] - books[:, None]) ** 2).sum(axis=3)
    return PieceVectors(books, distances.argmin(axis=2).T.astype(np.uint8), vectors.shape[1])


def history(
    index: ItemIndex, config: SegmentsConfig, rows: Sequence[int], spaces: Sequence[str] = ("text", "collaborative")
) -> UserSegments:
    """A user who met these items, oldest first: one segment an item and space, the older the lighter."""
    names = [channel.name for channel in config.channels()]
    weights = config.history.recency ** np.arange(len(rows) - 1, -1, -1)
    own = {}
    for place, space in enumerate(spaces):
        items = [index.spaces[space].items.item(row) for row in rows]
        own[space] = SpaceTokens.weighted(
            segments=np.arange(len(rows)) + place * len(rows),
            tokens=np.concatenate(items),
            weights=np.concatenate([index.spaces[space].item_weights(row) for row in rows]),
            starts=np.concatenate([[0], np.cumsum([len(item) for item in items])[:-1]]).astype(np.int64),
            unit_segment=np.arange(len(rows)),
        )
    return UserSegments(
        labels=tuple(f"{space}:{row}" for space in spaces for row in rows),
        channels=np.repeat([names.index(f"history/{space}") for space in spaces], len(rows)).astype(np.int32),
        weights=np.tile(weights, len(spaces)).astype(np.float32),
        spaces=own,
    )


def random_histories(count: int, seed: int) -> list[NDArray[np.int64]]:
    """Rows of ``count`` histories of one to ten items."""
    rng = np.random.default_rng(seed)
    return [rng.integers(ITEMS, size=rng.integers(1, 11)) for _ in range(count)]
