"""Who waits for whom, with a real ranker and an encoder that can be held up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tesserank.errors import EmptyRequestError, OverloadedError, TopKTooLargeError
from tesserank.index import ItemIndex
from tesserank.segments.config import SegmentsConfig
from tesserank.serving import dispatch
from tesserank.serving.dispatch import Dispatcher, Incoming
from tesserank.serving.pack import RankingPacker
from tesserank.serving.ranker import SegmentRanker
from tesserank.serving.request import RankingOptions
from tesserank.serving.scorer import Ranking, SegmentScorer
from tesserank.serving.segments import UserSegments
from tests.core.test_workers import PATIENCE_S, until
from tests.core.world import CountingEncoder, make_config, make_embedder, make_index

Arrays = dict[str, NDArray[Any]]


class SlowEncoder(CountingEncoder):
    """An encoder that waits until it is let go, and may fail."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.error: Exception | None = None

    def __call__(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        self.entered.release()
        assert self.open.wait(PATIENCE_S)
        if self.error:
            raise self.error
        return super().__call__(ids, mask)


class TogetherScorer(SegmentScorer):
    """A scorer that likes up to three requests at once, as a GPU's does, and remembers how many users it was given."""

    together = 3
    most = 1 << 10  # users that it can rank at once

    def __init__(self, index: ItemIndex, config: SegmentsConfig) -> None:
        super().__init__(index, config)
        self.users: list[int] = []

    def rank(self, users: Sequence[UserSegments], options: Sequence[RankingOptions]) -> list[Ranking]:
        self.users.append(len(users))
        if len(users) > self.most:
            raise MemoryError("too many users at once")
        return super().rank(users, options)


class Desk:
    """A dispatcher, and the answers that it gave, in the order they were given."""

    def __init__(self, scorer: Callable[[ItemIndex, SegmentsConfig], SegmentScorer] = SegmentScorer) -> None:
        self.encoder = SlowEncoder()
        config, index = make_config(), make_index()
        self.scorer = scorer(index, config)
        self.ranker = SegmentRanker(make_embedder(config, self.encoder, index), self.scorer)
        self.dispatcher = Dispatcher(self.ranker)
        self.answers: dict[str, Arrays | Exception] = {}

    def incoming(self, name: str, arrays: Arrays, timeout_s: float = 0.0) -> Incoming:
        def reply(answer: Arrays | Exception) -> None:
            assert name not in self.answers, "answered twice"
            self.answers[name] = answer

        return Incoming(arrays, reply, timeout_s)

    def submit(self, **requests: Arrays) -> None:
        """Requests that come together, by name."""
        self.dispatcher.submit([self.incoming(name, arrays) for name, arrays in requests.items()])

    def occupy_encoders(self) -> None:
        """Give every thread that encodes something to wait for."""
        for number in range(dispatch.ENCODING_THREADS):
            self.submit(**{f"busy {number}": text(f"40 4{number}")})
            assert self.encoder.entered.acquire(timeout=PATIENCE_S)


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.encoder.open.set()
    desk.dispatcher.close()


def strings(*values: str) -> NDArray[Any]:
    return np.array([[value.encode() for value in values]], dtype=object)


def text(words: str) -> Arrays:
    return {"TEXTS": strings(words), "TEXT_NAMES": strings("query")}


def history(*items: str) -> Arrays:
    return {"HISTORY_ITEM_IDS": strings(*items)}


def test_a_request_that_misses_nothing_is_answered_before_submit_returns(desk: Desk) -> None:
    desk.submit(hot=history("i1"))
    answer = desk.answers["hot"]
    assert isinstance(answer, dict)
    assert answer["ITEM_IDS"].shape == (1, 10)


def test_nobody_waits_for_anothers_encoder(desk: Desk) -> None:
    desk.submit(cold=text("5 6"), hot=history("i1"), wrong={}, also_hot=history("i2"))
    until(lambda: {"hot", "wrong", "also_hot"} <= set(desk.answers))
    assert "cold" not in desk.answers
    assert isinstance(desk.answers["wrong"], EmptyRequestError)
    desk.submit(later=history("i3"))
    until(lambda: "later" in desk.answers)
    assert "cold" not in desk.answers
    desk.encoder.open.set()
    until(lambda: "cold" in desk.answers)
    assert isinstance(desk.answers["cold"], dict)


def test_what_piles_up_before_the_encoder_is_encoded_together(desk: Desk) -> None:
    desk.occupy_encoders()
    for number in range(4):
        desk.submit(**{f"waiting {number}": text(f"5 {6 + number % 3}")})
    desk.encoder.open.set()
    until(lambda: len(desk.answers) == 4 + dispatch.ENCODING_THREADS)
    others = [(1, 6)] * dispatch.ENCODING_THREADS  # in whichever order they are done
    assert sorted(desk.encoder.shapes) == [*others, (3, 6)], "three distinct texts of the four requests"


def test_answers_are_those_of_one_by_one(desk: Desk) -> None:
    requests = {"a": text("5 6"), "b": history("i1", "i2"), "c": text("7 8 9") | history("i3"), "d": text("5 6")}
    desk.encoder.open.set()
    desk.submit(**requests)
    until(lambda: len(desk.answers) == len(requests))
    for name, arrays in requests.items():
        assert_same_answer(desk.answers[name], desk.ranker.answer(arrays))


def assert_same_answer(found: Arrays | Exception, expected: Arrays) -> None:
    assert isinstance(found, dict)
    for output in set(expected) - {"CACHE_HITS", "CACHE_MISSES"}:
        np.testing.assert_array_equal(found[output], expected[output], err_msg=output)


def test_what_piles_up_before_the_scorer_is_ranked_together_as_far_as_it_likes() -> None:
    desk = Desk(TogetherScorer)
    assert isinstance(desk.scorer, TogetherScorer)
    texts = {f"text {number}": text(f"5 {6 + number}") for number in range(4)}
    desk.occupy_encoders()
    desk.submit(**texts)
    desk.encoder.open.set()
    until(lambda: len(desk.answers) == len(texts) + dispatch.ENCODING_THREADS)
    assert sorted(desk.scorer.users) == [*[1] * dispatch.ENCODING_THREADS, 1, 3], "four that were encoded at once"
    for name, arrays in texts.items():
        assert_same_answer(desk.answers[name], desk.ranker.answer(arrays))
    desk.dispatcher.close()


def test_one_that_is_wrong_fails_alone_though_it_was_ranked_with_others() -> None:
    desk = Desk(TogetherScorer)
    wrong = np.array([[13]], dtype=np.int32)
    requests = {"first": history("i1") | text("5 6"), "wrong": history("i2") | {"TOP_K": wrong}, "last": history("i3")}
    desk.encoder.open.set()
    planned = [desk.ranker.plan(arrays) for arrays in requests.values()]
    desk.ranker.encode(planned[:1])
    answers = {list(requests)[place]: answer for place, answer in desk.ranker.finish_all(planned)}
    assert set(answers) == set(requests)
    assert isinstance(answers["wrong"], TopKTooLargeError)
    assert str(answers["wrong"]).startswith("user 0: "), "its own first user, whatever place it had among the others"
    for name in ("first", "last"):
        assert_same_answer(answers[name], desk.ranker.answer(requests[name]))


def test_what_is_too_much_at_once_is_ranked_by_halves_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk(TogetherScorer)
    assert isinstance(desk.scorer, TogetherScorer)
    planned = [desk.ranker.plan(history(item)) for item in ("i1", "i2", "i3", "i4", "i5")]
    desk.scorer.most = 2
    answers = dict(desk.ranker.finish_all(planned))
    assert desk.scorer.users == [5, 2, 3, 1, 2]
    assert capsys.readouterr().err.count("\nMemoryError: too many users at once") == 2
    for place, request in enumerate(planned):
        assert_same_answer(answers[place], desk.ranker.finish(request))


def test_requests_whose_users_are_done_are_answered_though_others_fail_later() -> None:
    class Failing(TogetherScorer):
        def rank_each(
            self, users: Sequence[UserSegments], options: Sequence[RankingOptions]
        ) -> Iterator[tuple[int, Ranking]]:
            self.users.append(len(users))
            for row in reversed(range(len(users))):  # whatever is quickest first
                if options[row].top_k == 2:
                    raise MemoryError("this one is too large")
                yield row, SegmentScorer.rank(self, users[row : row + 1], options[row : row + 1])[0]

    desk = Desk(Failing)
    assert isinstance(desk.scorer, Failing)
    two = {"HISTORY_ITEM_IDS": np.concatenate([strings("i1"), strings("i2")])}
    large = history("i3") | {"TOP_K": np.array([[2]], dtype=np.int32)}
    planned = [desk.ranker.plan(arrays) for arrays in (two, large, history("i4"))]
    answers = list(desk.ranker.finish_all(planned))
    assert [place for place, _ in answers] == [2, 0, 1], "each once, as soon as all of its users are there"
    assert desk.scorer.users == [4, 2, 1], "the last was done before; the two others apart"
    assert isinstance(answers[2][1], MemoryError)
    found = answers[1][1]
    assert isinstance(found, dict)
    assert found["ITEM_IDS"].shape == (2, 10)


def test_what_waits_to_be_ranked_is_ranked_together_but_for_what_nobody_waits_for_any_more() -> None:
    desk = Desk(TogetherScorer)
    assert isinstance(desk.scorer, TogetherScorer)
    batch = [desk.incoming(f"hot {number}", history(f"i{number}")) for number in range(1, 6)]
    late = [desk.incoming(f"late {number}", history("i7"), timeout_s=1e-9) for number in range(3)]
    desk.dispatcher.submit([*batch, *late])
    until(lambda: len(desk.answers) == len(batch) + len(late))
    assert all(isinstance(desk.answers[f"late {number}"], OverloadedError) for number in range(3))
    for number in range(1, 6):
        assert_same_answer(desk.answers[f"hot {number}"], desk.ranker.answer(history(f"i{number}")))
    asked = sum(desk.scorer.users) - 5  # the last five by the lines above
    assert asked == 5
    desk.dispatcher.close()


def test_an_answer_that_cannot_be_packed_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(TogetherScorer)
    packs = RankingPacker.__call__
    broken = RuntimeError("no memory left")

    def pack(self: RankingPacker, rankings: Sequence[Ranking], segments: int) -> Arrays:
        if len(rankings) == 2:
            raise broken
        return packs(self, rankings, segments)

    monkeypatch.setattr(RankingPacker, "__call__", pack)
    two = {"HISTORY_ITEM_IDS": np.concatenate([strings("i1"), strings("i2")])}
    planned = [desk.ranker.plan(arrays) for arrays in (history("i1"), two, history("i3"))]
    answers = dict(desk.ranker.finish_all(planned))
    assert sorted(answers) == [0, 1, 2]
    assert isinstance(answers[0], dict)
    assert answers[1] is broken
    assert isinstance(answers[2], dict)


def test_a_request_whose_option_is_wrong_fails_alone_though_it_was_encoded_with_others(desk: Desk) -> None:
    wrong = text("5 6") | {"TOP_K": np.array([[13]], dtype=np.int32)}
    desk.submit(right=text("7 8"), wrong=wrong)
    desk.encoder.open.set()
    until(lambda: len(desk.answers) == 2)
    assert isinstance(desk.answers["wrong"], TopKTooLargeError)
    assert isinstance(desk.answers["right"], dict)


def test_an_encoder_that_fails_fails_those_who_need_it_and_nobody_else(desk: Desk) -> None:
    desk.encoder.error = RuntimeError("the encoder is gone")
    desk.encoder.open.set()
    desk.submit(first=text("5 6"), second=text("7 8"), hot=history("i1"))
    until(lambda: len(desk.answers) == 3)
    assert desk.answers["first"] is desk.encoder.error
    assert isinstance(desk.answers["hot"], dict)
    desk.encoder.error = None
    desk.submit(again=text("5 6"))
    until(lambda: "again" in desk.answers)
    assert isinstance(desk.answers["again"], dict), "nothing of the failure was cached, and the threads live"


def test_a_request_that_waited_longer_than_its_client_does_is_refused_unencoded(desk: Desk) -> None:
    desk.occupy_encoders()
    desk.dispatcher.submit([desk.incoming("impatient", text("5 6"), timeout_s=1e-6)])
    desk.submit(patient=text("7 8"))
    desk.encoder.open.set()
    until(lambda: len(desk.answers) == 2 + dispatch.ENCODING_THREADS)
    assert isinstance(desk.answers["patient"], dict)
    refused = desk.answers["impatient"]
    assert isinstance(refused, OverloadedError)
    assert "Request timeout expired" in str(refused), "Triton's words, which clients know"
    assert desk.encoder.rows == dispatch.ENCODING_THREADS + 1


def test_a_request_is_refused_while_too_many_wait(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "MOST_WAITING", 2)
    crowded = Desk()
    crowded.occupy_encoders()
    for number in range(3):
        crowded.submit(**{f"waiting {number}": text(f"5 {6 + number}")})
    refused = crowded.answers["waiting 2"]
    assert isinstance(refused, OverloadedError)
    assert "Exceeds maximum queue size: 2" in str(refused)
    crowded.submit(hot=history("i1"))
    assert isinstance(crowded.answers["hot"], dict)
    crowded.encoder.open.set()
    crowded.dispatcher.close()
    assert len(crowded.answers) == 4 + dispatch.ENCODING_THREADS, "the end waits for what was accepted"
