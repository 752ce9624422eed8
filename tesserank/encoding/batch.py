"""Running composed inputs through an encoder in as few calls as their shapes allow."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tesserank.encoding.template import Composed, Template, length_bucket, pad_rows

# input_ids and attention_mask, both int64 [rows, L] -> token embeddings float32 [rows, L, d]
Encode = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]


def encode_composed(
    inputs: Sequence[Composed], template: Template, encode: Encode, max_rows: int
) -> list[NDArray[np.float32]]:
    """The kept token vectors of each input, float32 [n, d], in the order of ``inputs``.

    Inputs are grouped by their length bucket and sent at most ``max_rows`` at a time.
    """
    buckets: dict[int, list[int]] = {}
    for position, composed in enumerate(inputs):
        buckets.setdefault(length_bucket(len(composed.input_ids), template.max_tokens), []).append(position)
    vectors: dict[int, NDArray[np.float32]] = {}
    for length, positions in sorted(buckets.items()):
        for start in range(0, len(positions), max_rows):
            chunk = positions[start : start + max_rows]
            rows = [inputs[position].input_ids for position in chunk]
            outputs = encode(*pad_rows(rows, length, template.pad))
            for position, output in zip(chunk, outputs, strict=True):
                vectors[position] = output[inputs[position].kept]
    return [vectors[position] for position in range(len(inputs))]
