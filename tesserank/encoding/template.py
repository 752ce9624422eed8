"""How token ids become the encoder's input, and which of its output rows are kept.

One composition for everything that is encoded, at export and at request time, is what makes a looked-up item equal to
an encoded one: special tokens in front, behind and between, parts in order, and only the parts' own rows kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Composed:
    """One input of the encoder.

    ``input_ids`` int64 [L]; ``kept`` int64 [n], the positions of the parts' own tokens; ``groups`` int32 [n], the part
    that each of them came from.
    """

    input_ids: NDArray[np.int64]
    kept: NDArray[np.int64]
    groups: NDArray[np.int32]

    @property
    def kept_ids(self) -> NDArray[np.int64]:
        """The parts' own token ids, int64 [n]."""
        return self.input_ids[self.kept]


@dataclass(frozen=True)
class Template:
    """The special tokens of a checkpoint's tokenizer, and the longest input of its encoder, in tokens."""

    prefix: tuple[int, ...]
    separator: tuple[int, ...]
    suffix: tuple[int, ...]
    pad: int
    max_tokens: int

    def room(self, parts: int) -> int:
        """How many tokens of their own ``parts`` parts may have in one input."""
        return self.max_tokens - len(self.prefix) - len(self.suffix) - max(parts - 1, 0) * len(self.separator)

    def fitting(self, parts: Sequence[Sequence[int]]) -> list[Sequence[int]]:
        """The parts as far as they fit one input together: what is too much goes at the end."""
        kept: list[Sequence[int]] = []
        used = 0
        for part in parts:
            room = max(self.room(len(kept) + 1) - used, 0)
            if own := part[:room]:
                kept.append(own)
            used += len(own)
        return kept

    def compose(self, parts: Sequence[Sequence[int]]) -> Composed:
        """Join the token ids of one or more parts. Raises ValueError if they do not fit ``max_tokens``."""
        own = sum(len(part) for part in parts)
        if own > self.room(len(parts)):
            raise ValueError(
                f"{own} tokens in {len(parts)} parts, but the encoder has room for {self.room(len(parts))}"
            )
        ids: list[int] = list(self.prefix)
        kept: list[int] = []
        groups: list[int] = []
        for group, part in enumerate(parts):
            if group:
                ids.extend(self.separator)
            kept.extend(range(len(ids), len(ids) + len(part)))
            groups.extend([group] * len(part))
            ids.extend(part)
        ids.extend(self.suffix)
        return Composed(
            np.asarray(ids, dtype=np.int64), np.asarray(kept, dtype=np.int64), np.asarray(groups, dtype=np.int32)
        )


# Few enough that concurrent inputs often share one; close enough (a factor 4/3 at most) that little is padding: 5 to 7%
# of the tokens that are sent, for lengths from 1 to 128 alike, for items' texts and for sessions. Limits of texts are
# round numbers, and two special tokens come on top: a text cut at 32 tokens fills 34, and would waste 15% of 40.
LENGTH_BUCKETS = (
    6, 8, 10, 12, 14, 16, 18, 22, 26, 30, 34, 42, 50, 58, 66, 82, 98, 114, 130, 162, 194, 226, 258, 322, 386, 450, 512,
)  # fmt: skip


def length_bucket(length: int, max_tokens: int) -> int:
    """The padded length of an input: the next of LENGTH_BUCKETS, at most ``max_tokens``.

    The dynamic batcher merges only identical shapes, so there must be few of them.
    """
    if length > max_tokens:
        raise ValueError(f"{length} tokens, but the encoder takes at most {max_tokens}")
    bucket = next((bucket for bucket in LENGTH_BUCKETS if bucket >= length), max_tokens)
    return min(bucket, max_tokens)


def row_bucket(count: int) -> int:
    """Rows of a call on a GPU are rounded up to the next power of two: its graphs and memory are of one shape each."""
    return 1 << max(count - 1, 0).bit_length()


def pad_rows(rows: Sequence[NDArray[np.int64]], length: int, pad: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Stack inputs of at most ``length`` tokens: ids and attention mask, both int64 [rows, length]."""
    ids = np.full((len(rows), length), pad, dtype=np.int64)
    mask = np.zeros((len(rows), length), dtype=np.int64)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return ids, mask


def row_lengths(attention_mask: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many tokens of each row are left without the padding at its end, at least 1: [rows, L] -> int64 [rows]."""
    reversed_mask = attention_mask[:, ::-1] != 0
    lengths: NDArray[np.int64] = attention_mask.shape[1] - reversed_mask.argmax(axis=1)
    return np.where(reversed_mask.any(axis=1), lengths, 1)
