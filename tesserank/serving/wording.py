"""Segments, items and their token vectors in words: what an index and a tokenizer know of what they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tesserank.index import ItemIndex
from tesserank.segments.config import TEXT_SPACE
from tesserank.serving.plan import LookedUp, Moment, Source, UserPlan

_BETWEEN_ITEMS = " | "


class Vocabulary(Protocol):
    """As ``TextTokenizer``."""

    def token(self, token_id: int) -> str: ...

    def text(self, token_ids: Sequence[int]) -> str: ...


class Wording:
    """Words for the items of an index and the segments of its users."""

    def __init__(self, index: ItemIndex, vocabulary: Vocabulary) -> None:
        self._index = index
        self._vocabulary = vocabulary

    def item(self, row: int) -> str:
        """An item's text as the encoder saw it; empty for an item without text."""
        return self._vocabulary.text(self._index.token_ids(row).tolist())

    def item_tokens(self, row: int, space: str) -> list[str]:
        """A word for each of an item's vectors in a space.

        The item's id where a vector is not of one token: outside the text space, of an item without text, and of
        pooled tokens.
        """
        count = int(self._index.spaces[space].items.lengths[row])
        ids = self._index.token_ids(row).tolist()
        if space == TEXT_SPACE and len(ids) == count:
            return [self._vocabulary.token(token_id) for token_id in ids]
        return [self._index.item_ids[row]] * count

    def segments(self, plan: UserPlan) -> list[str]:
        """The text of each of a user's K segments."""
        texts = [""] * len(plan.labels)
        for sources in plan.spaces.values():
            for first, source in sources:
                texts[first : first + len(source)] = self._texts(source)
        return texts

    def _texts(self, source: Source) -> list[str]:
        if isinstance(source, Moment):
            return [str(source)]
        if not isinstance(source, LookedUp):
            parts = np.split(source.composed.kept_ids, np.flatnonzero(np.diff(source.composed.groups)) + 1)
            return [_BETWEEN_ITEMS.join(self._vocabulary.text(part.tolist()) for part in parts)]
        segments = np.split(source.rows, np.cumsum(source.counts)[:-1])
        return [_BETWEEN_ITEMS.join(map(self.item, rows.tolist())) for rows in segments]

    def segment_tokens(self, plan: UserPlan, space: str, heard: NDArray[np.bool_] | None) -> list[str]:
        """A word for each token of a user's segments in a space, in the order of ``SpaceTokens``, whose ``heard``
        this is."""
        words: list[str] = []
        for _, source in plan.spaces[space]:
            if isinstance(source, LookedUp):
                words += [word for row in source.rows.tolist() for word in self.item_tokens(row, space)]
            elif isinstance(source, Moment):
                words.append(str(source))
            else:
                words += [self._vocabulary.token(token_id) for token_id in source.composed.kept_ids.tolist()]
        return words if heard is None else [word for word, kept in zip(words, heard, strict=True) if kept]
