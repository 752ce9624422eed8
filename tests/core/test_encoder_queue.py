"""The encoder's queue: every row gets its own vectors, whoever it ran beside, and what runs together is alike."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tesserank.encoding.batching import MOST_ROWS, Batching, Engine, on_cores, on_gpu
from tesserank.encoding.template import pad_rows
from tesserank.errors import InvalidArgumentError
from tesserank.serving.dispatch import Incoming
from tesserank.serving.encoder import EMBEDDINGS, IDS, MASK, EncoderQueue, companions
from tests.core.test_workers import PATIENCE_S, until

UNKNOWN = 99  # a token id that the engine fails for
TWO_CORES, ONE_CORE = on_cores(2), on_cores(1)
# Padding that is free, padding that is not, rows that run alone, on one thread and on two.
KINDS = {
    "cores": TWO_CORES,
    "row by row": on_cores(2, row_by_row=True),
    "gpu": on_gpu(),
    "gpu, unpadded": on_gpu(unpadded=True),
}
Arrays = dict[str, NDArray[Any]]
Texts = Sequence[Sequence[int]]


class EchoEngine(Engine):
    """A token's vector is its id and its row's sum; records the batches, and runs one only once it is let."""

    def __init__(self, batching: Batching = TWO_CORES) -> None:
        self.batching = batching
        self.shared: list[list[int]] = []  # lengths of the rows of each batch
        self.single: list[list[int]] = []
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Semaphore(0)

    def __call__(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._run(ids, mask, self.shared)

    def on_this_thread(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._run(ids, mask, self.single)

    def _run(self, ids: NDArray[np.int64], mask: NDArray[np.int64], batches: list[list[int]]) -> NDArray[np.float32]:
        self.entered.release()
        assert self.open.wait(PATIENCE_S)
        if (ids == UNKNOWN).any():
            raise ValueError(f"token {UNKNOWN} is not in the vocabulary")
        batches.append(mask.sum(axis=1).tolist())
        sums = np.broadcast_to((ids * mask).sum(axis=1, keepdims=True), ids.shape)
        return np.stack([ids, sums], axis=2).astype(np.float32)


class Desk:
    """A queue, and the answers it gave."""

    def __init__(self, engine: EchoEngine) -> None:
        self.engine = engine
        self.queue = EncoderQueue(engine)
        self.answers: dict[str, Arrays | Exception] = {}

    def submit(self, **requests: Texts | Arrays) -> None:
        """Requests that come together, by name."""
        self.queue.submit([self._incoming(name, request) for name, request in requests.items()])

    def _incoming(self, name: str, request: Texts | Arrays) -> Incoming:
        def reply(answer: Arrays | Exception) -> None:
            assert name not in self.answers, "answered twice"
            self.answers[name] = answer

        return Incoming(request if isinstance(request, dict) else arrays_of(request), reply)

    def occupy(self) -> None:
        """Hold up every thread with a row of its own, until the engine is opened."""
        self.engine.open.clear()
        for number in range(self.engine.batching.at_once):
            worker = threading.Thread(target=self.submit, kwargs={f"busy {number}": [[7]]}, daemon=True)
            worker.start()  # the first is run by who brings it
            assert self.engine.entered.acquire(timeout=PATIENCE_S)

    def vectors(self, name: str) -> NDArray[np.float32]:
        until(lambda: name in self.answers)
        answer = self.answers[name]
        assert isinstance(answer, dict), answer
        return answer[EMBEDDINGS]


def arrays_of(texts: Texts) -> Arrays:
    ids, mask = pad_rows([np.array(text) for text in texts], max(map(len, texts)), pad=5)
    return {IDS: ids, MASK: mask}


def expected(texts: Texts) -> NDArray[np.float32]:
    vectors = np.zeros((len(texts), max(map(len, texts)), 2), dtype=np.float32)
    for row, text in enumerate(texts):
        vectors[row, : len(text), 0], vectors[row, : len(text), 1] = text, sum(text)
    return vectors


@pytest.fixture(params=KINDS)
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    desk = Desk(EchoEngine(KINDS[request.param]))
    yield desk
    desk.engine.open.set()
    desk.queue.close()


texts = st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=30), min_size=1, max_size=9)


@pytest.mark.parametrize("kind", KINDS)
@given(st.lists(texts, min_size=1, max_size=6), st.data())
def test_every_row_gets_its_own_vectors(kind: str, requests: list[Texts], data: st.DataObject) -> None:
    batching = KINDS[kind]
    desk = Desk(EchoEngine(batching))
    together = data.draw(st.integers(1, len(requests)))  # the first so many in one call, the others one by one
    names = [f"request {number}" for number in range(len(requests))]
    desk.submit(**dict(zip(names[:together], requests[:together], strict=True)))
    for name, request in zip(names[together:], requests[together:], strict=True):
        desk.submit(**{name: request})
    for name, request in zip(names, requests, strict=True):
        np.testing.assert_array_equal(desk.vectors(name), expected(request))
    desk.queue.close()
    counts, lengths = desk.queue.counts(), [len(text) for request in requests for text in request]
    batches = desk.engine.shared + desk.engine.single
    assert sorted(length for batch in batches for length in batch) == sorted(lengths)
    assert (counts.rows, counts.batches, counts.real_tokens) == (len(lengths), len(batches), sum(lengths))
    assert all(len(batch) <= batching.most_rows for batch in batches)
    if batching.unpadded:
        assert counts.padded_tokens == counts.real_tokens
    else:
        assert counts.padded_tokens == sum(max(batch) * len(batch) for batch in batches)
        assert counts.padded_tokens - counts.real_tokens <= batching.most_padding * counts.padded_tokens


def test_what_comes_alone_is_shared_between_all_threads() -> None:
    desk = Desk(EchoEngine())
    desk.submit(one=[[1, 2, 3]] * 9)
    assert "one" in desk.answers, "at once, by the thread that brought it"
    assert desk.engine.shared == [[3] * 9]
    desk.queue.close()


def test_what_comes_alone_in_many_lengths_is_run_by_many_threads() -> None:
    desk = Desk(EchoEngine())
    desk.submit(one=[[1], [2] * 10, [3] * 40])
    np.testing.assert_array_equal(desk.vectors("one"), expected([[1], [2] * 10, [3] * 40]))
    assert len(desk.engine.shared + desk.engine.single) == 3
    desk.queue.close()


def test_rows_of_several_requests_run_together_the_oldest_first() -> None:
    desk = Desk(EchoEngine(ONE_CORE))
    desk.occupy()
    desk.submit(first=[[1] * 30, [2] * 8])
    desk.submit(second=[[3] * 8, [4] * 31], third=[[5] * 29, [6] * 32])
    desk.engine.open.set()
    for name, request in {"first": [[1] * 30, [2] * 8], "third": [[5] * 29, [6] * 32]}.items():
        np.testing.assert_array_equal(desk.vectors(name), expected(request))
    assert desk.engine.single == [[30, 31, 29, 32]]
    until(lambda: "second" in desk.answers)
    assert desk.engine.shared == [[1], [8, 8]], "the last two are alone by then"
    desk.queue.close()


def test_a_batch_of_one_thread_has_few_tokens() -> None:
    desk = Desk(EchoEngine(ONE_CORE))
    desk.occupy()
    rows, tokens = ONE_CORE.most_tokens // 60, 60
    desk.submit(many=[[1] * tokens] * (MOST_ROWS + 2 * rows))
    desk.engine.open.set()
    until(lambda: "many" in desk.answers)
    assert desk.engine.single == [[tokens] * rows] * 2
    assert desk.engine.shared == [[1], [tokens] * MOST_ROWS], "what is left then is alone"
    desk.queue.close()


def test_a_thread_leaves_the_others_their_share() -> None:
    desk = Desk(EchoEngine())
    desk.occupy()
    desk.submit(few=[[1] * 10] * 4, long=[[2] * 200] * 2)  # six rows, which are never alone
    desk.engine.open.set()
    until(lambda: {"few", "long"} <= desk.answers.keys())
    desk.queue.close()
    # Half of what waits, though the four of ten tokens would fit a batch; which thread is first to say so is chance.
    assert max(map(len, desk.engine.single)) == 3
    assert sorted(itertools.chain(*desk.engine.single, *desk.engine.shared)) == [1, 1, *[10] * 4, 200, 200]


def test_a_row_that_fails_takes_its_own_request_with_it_and_no_other(desk: Desk) -> None:
    desk.occupy()
    desk.submit(good=[[1, 2], [3, 4]], bad=[[5, 6], [UNKNOWN, 8], [UNKNOWN, 9]], also=[[9, 9]])
    desk.engine.open.set()
    np.testing.assert_array_equal(desk.vectors("good"), expected([[1, 2], [3, 4]]))
    np.testing.assert_array_equal(desk.vectors("also"), expected([[9, 9]]))
    until(lambda: "bad" in desk.answers)
    assert isinstance(desk.answers["bad"], ValueError)
    desk.submit(afterwards=[[1]])
    np.testing.assert_array_equal(desk.vectors("afterwards"), expected([[1]]))


def test_a_mask_of_another_shape_is_refused(desk: Desk) -> None:
    desk.submit(wrong={IDS: np.ones((1, 2), np.int64), MASK: np.ones((1, 1), np.int64)}, right=[[1]])
    assert isinstance(desk.answers["wrong"], InvalidArgumentError)
    assert "(1, 2)" in str(desk.answers["wrong"])
    np.testing.assert_array_equal(desk.vectors("right"), expected([[1]]))


def test_a_request_may_overwrite_its_arrays_once_it_is_handed_over(desk: Desk) -> None:
    desk.occupy()
    arrays = arrays_of([[1, 2, 3]])
    desk.submit(one=arrays)
    for array in arrays.values():
        array[:] = 0
    desk.engine.open.set()
    np.testing.assert_array_equal(desk.vectors("one"), expected([[1, 2, 3]]))


def test_rows_of_any_lengths_run_together_where_padding_is_free() -> None:
    desk = Desk(EchoEngine(on_gpu(unpadded=True)))
    desk.occupy()
    desk.submit(first=[[4] * 200, [5]], second=[[6] * 50])
    desk.engine.open.set()
    until(lambda: {"first", "second"} <= desk.answers.keys())
    assert desk.engine.shared == [[1], [200, 1, 50]]
    desk.queue.close()


@pytest.mark.parametrize("kind", KINDS)
@given(st.lists(st.integers(1, 512), min_size=1, max_size=80), st.integers(1, 70))
def test_companions_are_the_nearest_that_fit(kind: str, lengths: list[int], share: int) -> None:
    batching = KINDS[kind]
    chosen = companions(lengths, batching, share)
    assert chosen[0] == 0
    assert len(set(chosen)) == len(chosen) <= min(share, batching.most_rows)
    batch = [lengths[position] for position in chosen]
    size = sum(batch) if batching.unpadded else max(batch) * len(batch)
    assert size <= max(batching.most_tokens, lengths[0])
    assert size - sum(batch) <= batching.most_padding * size
    assert size - sum(batch) <= batching.batch_cost * (len(batch) - 1)
    same = [position for position, length in enumerate(lengths) if length == lengths[0]]
    fitting = max(1, min(share, batching.most_rows, batching.most_tokens // lengths[0]))
    assert set(same[:fitting]) <= set(chosen), "padding stops nobody of the same length"
