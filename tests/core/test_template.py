"""Composing the encoder's input, padding it, and running it in as few calls as its shapes allow."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tesserank.encoding.batch import EncoderRows, encode_composed
from tesserank.encoding.template import LENGTH_BUCKETS, Composed, Template, length_bucket, pad_rows

TEMPLATE = Template(prefix=(101, 7), separator=(102,), suffix=(103,), pad=0, max_tokens=40)
parts_that_fit = st.lists(st.lists(st.integers(200, 299), max_size=8), min_size=1, max_size=4)


def test_a_composed_input_by_hand() -> None:
    composed = TEMPLATE.compose([[5, 6], [], [8]])
    assert composed.input_ids.tolist() == [101, 7, 5, 6, 102, 102, 8, 103]
    assert composed.kept.tolist() == [2, 3, 6]
    assert composed.groups.tolist() == [0, 0, 2]
    assert (composed.input_ids.dtype, composed.kept.dtype, composed.groups.dtype) == (np.int64, np.int64, np.int32)


@given(parts_that_fit)
def test_the_kept_tokens_are_the_parts_in_order_and_know_their_part(parts: list[list[int]]) -> None:
    composed = TEMPLATE.compose(parts)
    assert composed.kept_ids.tolist() == [token for part in parts for token in part]
    assert Counter(composed.groups.tolist()) == Counter({group: len(part) for group, part in enumerate(parts) if part})
    special = len(composed.input_ids) - len(composed.kept)
    assert special == TEMPLATE.max_tokens - TEMPLATE.room(len(parts))


def test_what_fills_the_room_fits_and_one_token_more_does_not() -> None:
    for parts in (1, 2, 5):
        room = TEMPLATE.room(parts)
        assert room == 40 - 2 - 1 - (parts - 1)
        rest = [[9]] * (parts - 1)
        full = [[9] * (room - parts + 1), *rest]
        assert len(TEMPLATE.compose(full).input_ids) == TEMPLATE.max_tokens
        with pytest.raises(
            ValueError, match=f"{room + 1} tokens in {parts} parts, but the encoder has room for {room}"
        ):
            TEMPLATE.compose([[9, *full[0]], *rest])


def test_no_parts_have_the_room_of_one() -> None:
    assert TEMPLATE.room(0) == TEMPLATE.room(1)
    assert TEMPLATE.compose([]).input_ids.tolist() == [101, 7, 103]


@given(st.integers(0, 600), st.integers(1, 600))
def test_a_length_bucket_is_the_next_of_a_few_lengths(length: int, max_tokens: int) -> None:
    assume(length <= max_tokens)
    bucket = length_bucket(length, max_tokens)
    assert length <= bucket <= max_tokens
    assert bucket == max_tokens or bucket in LENGTH_BUCKETS
    assert not [smaller for smaller in LENGTH_BUCKETS if length <= smaller < bucket]


# Lengths with the special tokens. A session: a geometric number of items, 8 at most, and 128 tokens at most.
MIXES = {
    "any": lambda rng: rng.integers(1, 129, 20_000),
    "items": lambda rng: rng.integers(3, 35, 20_000),
    "queries": lambda rng: np.clip(rng.poisson(5, 20_000), 1, 32) + 2,
    "sessions": lambda rng: np.minimum(rng.geometric(0.35, 20_000).clip(1, 8) * rng.integers(4, 30, 20_000), 128) + 2,
}


@pytest.mark.parametrize("mix", MIXES)
def test_at_most_15_percent_of_what_is_sent_is_padding(mix: str) -> None:
    lengths = MIXES[mix](np.random.default_rng(0))
    padded = np.array([length_bucket(length, 512) for length in range(131)])[lengths]
    assert (padded - lengths).sum() / padded.sum() <= 0.15


def test_neighbouring_buckets_are_close() -> None:
    assert all(following <= 4 / 3 * bucket for bucket, following in pairwise(LENGTH_BUCKETS))


def test_an_input_longer_than_the_encoder_takes_has_no_bucket() -> None:
    with pytest.raises(ValueError, match="101 tokens, but the encoder takes at most 100"):
        length_bucket(101, 100)


def test_rows_are_padded_at_their_end_and_the_mask_says_where() -> None:
    ids, mask = pad_rows([np.array([4, 5, 6]), np.array([7])], 4, pad=9)
    assert ids.tolist() == [[4, 5, 6, 9], [7, 9, 9, 9]]
    assert mask.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
    assert ids.dtype == mask.dtype == np.int64


class EchoEncoder:
    """A token's "vector" is its own id, to see what came back for whom; records the shapes it was given."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        self.shapes.append(ids.shape)
        return (ids * mask)[:, :, None].astype(np.float32)


@given(st.lists(st.lists(st.integers(200, 299), min_size=1, max_size=36), max_size=20), st.integers(1, 5))
def test_vectors_come_back_in_the_order_of_the_inputs(texts: list[list[int]], max_rows: int) -> None:
    encode, inputs = EchoEncoder(), [TEMPLATE.compose([text]) for text in texts]
    vectors = encode_composed(inputs, TEMPLATE, encode, EncoderRows(max_rows))
    assert [matrix[:, 0].tolist() for matrix in vectors] == texts
    assert sum(rows for rows, _ in encode.shapes) == len(texts)
    assert all(rows <= max_rows for rows, _ in encode.shapes)
    fewest = Counter(length_bucket(len(i.input_ids), TEMPLATE.max_tokens) for i in inputs)
    assert Counter(length for _, length in encode.shapes) == {
        length: -(-count // max_rows) for length, count in fewest.items()
    }


@given(st.lists(st.lists(st.integers(200, 299), min_size=1, max_size=36), max_size=20), st.integers(1, 5))
def test_an_encoder_of_mixed_lengths_is_called_as_little_as_rows_and_padding_allow(
    texts: list[list[int]], max_rows: int
) -> None:
    encode, inputs = EchoEncoder(), [TEMPLATE.compose([text]) for text in texts]
    vectors = encode_composed(inputs, TEMPLATE, encode, EncoderRows(max_rows, mixed_lengths=True))
    assert [matrix[:, 0].tolist() for matrix in vectors] == texts
    lengths = sorted(len(composed.input_ids) for composed in inputs)
    for rows, longest in encode.shapes:
        call, lengths = lengths[:rows], lengths[rows:]
        assert rows <= max_rows
        assert longest == call[-1], "in order of length, no longer than the longest"
        assert sum(call) >= rows * longest / 2, "at most half of a call is padding"
        if lengths and rows < max_rows:
            assert sum(call) + lengths[0] < (rows + 1) * lengths[0] / 2, "the next would have fitted"
    assert not lengths


def test_without_inputs_the_encoder_is_not_called() -> None:
    encode = EchoEncoder()
    assert encode_composed([], TEMPLATE, encode) == []
    assert encode.shapes == []


def test_vectors_own_their_memory_so_that_a_cached_one_does_not_keep_its_batch() -> None:
    inputs: list[Composed] = [TEMPLATE.compose([[201, 202]]), TEMPLATE.compose([[203]])]
    for vectors in encode_composed(inputs, TEMPLATE, EchoEncoder()):
        owner = vectors if vectors.base is None else vectors.base
        assert owner.nbytes == vectors.nbytes
