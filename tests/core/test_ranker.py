"""The request path in one process against its parts, and what it counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tesserank import protocol
from tesserank.errors import EmptyRequestError, UnknownItemError
from tesserank.serving.pack import RankingPacker, embedding_arrays
from tesserank.serving.ranker import SegmentRanker
from tesserank.serving.scorer import SegmentScorer
from tesserank.serving.segments import SegmentBatch
from tesserank.serving.stages import STAGES, StageClock
from tesserank.serving.unpack import ranking_options, user_contexts
from tests.core.world import CountingEncoder, make_config, make_embedder, make_index

CUTS = ("item", "session", "content")
Arrays = dict[str, NDArray[Any]]


def strings(*rows: list[str]) -> NDArray[Any]:
    longest = max(map(len, rows))
    return np.array([[value.encode() for value in row] + [b""] * (longest - len(row)) for row in rows], dtype=object)


# Two users, the second of whom has fewer segments and gets fewer items.
ARRAYS: Arrays = {
    "HISTORY_ITEM_IDS": strings(["i1", "i2", "i3", "nope"], ["i4"]),
    "HISTORY_TIMESTAMPS": np.array([[0, 5, 50, 51], [0, 0, 0, 0]]),
    "TEXTS": strings(["5 6", "7 8 9 10 11 12"], ["5 6"]),
    "TEXT_NAMES": strings(["query", "query"], ["profile"]),
    "CANDIDATE_IDS": strings(["i5", "i6", "i7", "other"], ["i5", "i1"]),
    "EXCLUDE_IDS": strings([], ["i1"]),
    "TOP_K": np.array([[3], [2]], dtype=np.int32),
}


def make_ranker(cut: str, clock: StageClock | None = None) -> SegmentRanker:
    config, index = make_config(cut), make_index()
    return SegmentRanker(make_embedder(config, CountingEncoder(), index), SegmentScorer(index, config), clock)


def split_path(cut: str, arrays: Arrays) -> Arrays:
    """The same by way of segment_embedder's and segmented_maxsim's padded tensors."""
    config, index = make_config(cut), make_index()
    embedder = make_embedder(config, CountingEncoder(), index)
    embedded = embedding_arrays(embedder.embed(user_contexts(arrays)))
    wanted = {tensor.name for tensor in protocol.SEGMENTED_MAXSIM.inputs}
    batch = SegmentBatch.from_arrays({name: array for name, array in embedded.items() if name in wanted})
    dims = {name: space.dim for name, space in index.spaces.items()}
    users = batch.users([channel.space for channel in config.channels()], dims)
    rankings = SegmentScorer(index, config).rank(users, ranking_options(arrays))
    return embedded | RankingPacker(index)(rankings, batch.channels.shape[1])


@pytest.mark.parametrize("cut", CUTS)
def test_one_process_answers_as_the_two_models_of_the_split_path_do(cut: str) -> None:
    answer, expected = make_ranker(cut).answer(ARRAYS), split_path(cut, ARRAYS)
    assert set(answer) == {tensor.name for tensor in protocol.SEGMENT_RANKER.outputs}
    for name, array in answer.items():
        assert array.dtype == expected[name].dtype, name
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_an_answer_has_the_shapes_of_the_protocol_and_is_padded_where_a_user_has_less() -> None:
    answer = make_ranker("item").answer(ARRAYS)
    assert {name: array.shape for name, array in answer.items()} == {
        "ITEM_IDS": (2, 3),
        "SCORES": (2, 3),
        "SEGMENT_SCORES": (2, 3, 8),
        "SEGMENT_CONTRIBUTIONS": (2, 3, 8),
        "SEGMENT_LABELS": (2, 8),
        "UNKNOWN_HISTORY": (2, 1),
        "UNKNOWN_CANDIDATES": (2, 1),
        "TRUNCATED_TOKENS": (2, 1),
        "CACHE_HITS": (2, 1),
        "CACHE_MISSES": (2, 1),
    }
    assert answer["ITEM_IDS"][1].tolist() == [b"i5", b"", b""]
    assert answer["SCORES"][1, 1:].tolist() == [-np.inf, -np.inf]
    assert answer["SEGMENT_LABELS"][1, 3:].tolist() == [b""] * 5
    assert not answer["SEGMENT_SCORES"][1, :, 3:].any()
    assert answer["UNKNOWN_HISTORY"].tolist() == [[1], [0]]
    assert answer["UNKNOWN_CANDIDATES"].tolist() == [[1], [0]]
    assert answer["TRUNCATED_TOKENS"].tolist() == [[1], [0]]
    assert answer["CACHE_MISSES"].tolist() == [[2], [1]]


def test_a_categories_tensor_restricts_the_answer() -> None:
    arrays = {"HISTORY_ITEM_IDS": strings(["i1"]), "CATEGORIES": strings(["toy"])}
    ids = make_ranker("item").answer(arrays)["ITEM_IDS"][0]
    assert {item for item in ids if item} == {b"i0", b"i3", b"i6", b"i9"}


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        ({"HISTORY_ITEM_IDS": strings(["x"])}, EmptyRequestError, "user 0: nothing to score by"),
        (
            {"HISTORY_ITEM_IDS": strings(["x"]), "REJECT_UNKNOWN": np.array([[True]])},
            UnknownItemError,
            r"user 0: 1 item \(x\)",
        ),
    ],
)
def test_a_request_that_cannot_be_answered_is_an_error(arrays: Arrays, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_ranker("item").answer(arrays)


def test_every_stage_is_counted_as_often_as_it_ran() -> None:
    clock = StageClock()
    config, index = make_config(), make_index()
    embedder = make_embedder(config, clock.measured_encoder(CountingEncoder()), index)
    ranker = SegmentRanker(embedder, SegmentScorer(index, config), clock)
    ranker.answer(ARRAYS)
    first = clock.reading()
    # The encoder is called twice: the texts have buckets of 6 and 8, and the third is the first again.
    assert first.runs == dict.fromkeys(STAGES, 1) | {"encode": 2, "propose": 2, "maxsim": 2, "aggregate": 2}
    assert all(seconds > 0 for seconds in first.seconds.values())
    ranker.answer(ARRAYS)
    second = clock.reading()
    grown = {stage: second.runs[stage] - first.runs[stage] for stage in STAGES}
    assert grown == first.runs | {"wait": 0, "encode": 0}, "hot"


def test_a_stage_that_fails_is_not_counted() -> None:
    clock = StageClock()
    with pytest.raises(EmptyRequestError):
        make_ranker("item", clock).answer({})
    assert not any(clock.reading().runs.values())
