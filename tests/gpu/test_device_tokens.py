"""Token vectors in parts, wherever they lie: nothing is mixed up on the way to the device, and little goes there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("tokenizers", reason="the request path tokenises")

from tesserank.maxsim.gpu.upload import Parcel, download, upload
from tesserank.serving.device_jobs import ResidentIndex
from tesserank.serving.device_scorer import DeviceScorer
from tesserank.serving.device_tokens import PARTS, Parts, Pool, Resident
from tesserank.serving.lookup import ARRAYS
from tesserank.serving.request import RankingOptions, UserContext
from tests.core.world import CountingEncoder, make_config, make_embedder, make_index

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
RESIDENT, ARRAY, TENSOR = "resident", "array", "tensor"
HELD = np.arange(100, dtype=np.float32)[:, None]  # what lies in the index: its place, in one dimension

kinds = st.sampled_from([RESIDENT, ARRAY, TENSOR])
users = st.lists(
    st.lists(st.tuples(kinds, st.lists(st.integers(0, 99), min_size=1, max_size=5)), min_size=1, max_size=5),
    min_size=1,
    max_size=4,
)


def part(kind: str, places: list[int]) -> object:
    if kind == RESIDENT:
        return Resident(np.array(places))
    return HELD[places] if kind == ARRAY else torch.from_numpy(HELD[places]).to(DEVICE)


def pooled(pool: Pool) -> np.ndarray:
    """The pool's vectors as they come to lie on the device."""
    tensors = [tensor.cpu().numpy() for tensor in pool.tensors]
    return np.concatenate([HELD[pool.places], *([] if pool.host is None else [pool.host]), *tensors])[:, 0]


@given(users=users, seed=st.integers(0, 2**32 - 1))
def test_every_token_of_a_pool_is_where_it_is_said_to_be(users: list[list[tuple[str, list[int]]]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    tokens: list[Parts] = []
    wanted: list[int] = []
    for own in users:
        parts = Parts(tuple(part(kind, places) for kind, places in own))
        heard = rng.random(len(parts)) < 0.7
        tokens.append(parts[heard])
        places = np.concatenate([places for _, places in own])
        wanted += places[heard].tolist()
        assert len(tokens[-1]) == heard.sum()
    pool = Pool.of(tokens)
    found = pooled(pool)
    assert found[np.arange(len(found)) if pool.order is None else pool.order].tolist() == wanted


def test_tokens_of_one_place_are_in_order_as_they_are() -> None:
    arrays = [HELD[:2], HELD[5:6]]  # alone, as they come from the wire
    assert Pool.of(arrays).order is None
    assert Pool.of([Parts((Resident(np.array([3])),)), HELD[:1]]).order is None, "first what is resident, then arrays"
    assert Pool.of([HELD[:1], Resident(np.array([3]))]).order is not None


CONTEXTS = [UserContext([b"i1", b"i2", b"i3", b"i10"], [0, 5, 50, 51], timestamp=250), UserContext([b"i4"], [0])]
EVERY_SPACE = "[history.spaces]\ntext = 1.0\ncollaborative = 1.0\ntransitions = 1.0\ntrend = 1.0\n"


@pytest.mark.parametrize("kind", ["int8", "int16", "float16"])
@pytest.mark.parametrize("method", ["softmax", "sum"])
def test_items_of_the_history_are_looked_up_on_the_device(
    kind: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same vectors, to the bit, and only their places go there; segments have vectors of their own, or moments."""
    index, config = make_index(kind=kind), make_config("item", method, more=EVERY_SPACE)
    host, places = (make_embedder(config, CountingEncoder(), index, form=form) for form in (ARRAYS, PARTS))
    scorer = DeviceScorer(index, config, DEVICE)
    sent: list[int] = []
    send = Parcel.send

    def counting(parcel: Parcel) -> None:
        sent.append(sum(array.nbytes for array in parcel._arrays if array.dtype == np.float32 and array.ndim == 2))
        send(parcel)

    monkeypatch.setattr(Parcel, "send", counting)
    options = [RankingOptions(top_k=5)] * len(CONTEXTS)
    looked_up = scorer.rank(places.embed(CONTEXTS).segments, options)
    assert sent == [0], "one copy for all, no vectors in it"
    of_host = scorer.rank(host.embed(CONTEXTS).segments, options)
    assert sent[1] > 0
    for ours, theirs in zip(looked_up, of_host, strict=True):
        assert {"transitions", "trend"} <= set(config.history.spaces)
        np.testing.assert_array_equal(ours.rows, theirs.rows)
        np.testing.assert_array_equal(ours.scores, theirs.scores)


def test_vectors_that_segments_have_of_their_own_are_there_once_more() -> None:
    index = make_index()
    assert not ResidentIndex.upload(index, torch.device(DEVICE)).segments, "of vectors from the wire"
    resident = ResidentIndex.upload(index, torch.device(DEVICE), ("text", "transitions"))
    assert resident.segments["text"] is resident.items["text"]
    assert resident.segments["transitions"] is not resident.items["transitions"]
    parts = {id(held): held.nbytes for held in (*resident.items.values(), *resident.segments.values())}
    assert resident.nbytes == sum(parts.values())
    assert set(resident.segments) == {"text", "transitions"}


def test_what_is_sent_arrives_and_what_is_found_comes_back() -> None:
    arrays: Sequence[np.ndarray] = (
        np.arange(5, dtype=np.int64),
        np.empty(0, dtype=np.int32),
        np.arange(6, dtype=np.float32).reshape(3, 2)[:, ::-1],
        np.array([7], dtype=np.int32),
    )
    there = upload(torch.device(DEVICE), *arrays)
    assert all(tensor.data_ptr() % 16 == 0 for tensor in there if tensor.numel())
    for array, back in zip(arrays, download(*there), strict=True):
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)
        back += 1  # writable
