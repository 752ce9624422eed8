"""Running composed inputs through an encoder in as few calls as their shapes allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tesserank.encoding.template import Composed, Template, length_bucket, pad_rows

# input_ids and attention_mask, both int64 [rows, L] -> token embeddings float32 [rows, L, d]
Encode = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]


@dataclass(frozen=True)
class EncoderRows:
    """Which rows a call of an encoder may have: so many, and of one length bucket or of ``mixed_lengths``.

    The latter is for an encoder that puts rows of like lengths together itself, as ``serving.encoder`` does.
    """

    most: int = 64
    mixed_lengths: bool = False


BUCKETS = EncoderRows()

# Of a call whose rows differ in length: more would carry more padding than vectors between processes.
_MOST_PADDING = 0.5


def encode_composed(
    inputs: Sequence[Composed], template: Template, encode: Encode, rows: EncoderRows = BUCKETS
) -> list[NDArray[np.float32]]:
    """The kept token vectors of each input, float32 [n, d], in the order of ``inputs``.

    They are sent in as few calls as ``rows`` allows.
    """
    lengths = [len(composed.input_ids) for composed in inputs]
    if rows.mixed_lengths:
        calls = _of_mixed_lengths(lengths, rows.most)
    else:
        calls = _of_one_bucket(lengths, template, rows.most)
    vectors: dict[int, NDArray[np.float32]] = {}
    for length, positions in calls:
        padded = pad_rows([inputs[position].input_ids for position in positions], length, template.pad)
        outputs = encode(*padded)
        for position, output in zip(positions, outputs, strict=True):
            vectors[position] = output[inputs[position].kept]
    return [vectors[position] for position in range(len(inputs))]


def _of_one_bucket(lengths: Sequence[int], template: Template, most: int) -> Iterator[tuple[int, list[int]]]:
    """Padded length and positions of each call, all in it being of one bucket."""
    buckets: dict[int, list[int]] = {}
    for position, length in enumerate(lengths):
        buckets.setdefault(length_bucket(length, template.max_tokens), []).append(position)
    for bucket, positions in sorted(buckets.items()):
        for start in range(0, len(positions), most):
            yield bucket, positions[start : start + most]


def _of_mixed_lengths(lengths: Sequence[int], most: int) -> Iterator[tuple[int, list[int]]]:
    """Padded length and positions of each call, as few calls as ``most`` and ``_MOST_PADDING`` allow."""
    call: list[int] = []
    tokens = 0
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[position]
        padded = length * (len(call) + 1)
        if call and (len(call) == most or padded - tokens - length > _MOST_PADDING * padded):
            yield lengths[call[-1]], call
            call, tokens = [], 0
        call.append(position)
        tokens += length
    if call:
        yield lengths[call[-1]], call
