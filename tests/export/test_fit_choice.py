"""The fit: whom it predicts for, and choices that luck does not make."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesserank.segments.config import ItemsConfig, LearnedConfig
from tesserank.segments.reader import parse_segments
from tesserank_export.fit.candidates import Candidate
from tesserank_export.fit.cases import Cases, make_cases
from tesserank_export.fit.choice import FOLDS, Judge
from tesserank_export.fit.kinds import other_kind_weights
from tesserank_export.fit.scoring import Scores, Way, gains
from tesserank_export.fit.search import Search
from tesserank_export.heldout import PLAIN, PROTOCOLS
from tests.evaluation.logs import log_of, random_log
from tests.export.fit_cases import DEFAULT, cases_of, cutter_of
from tests.export.tiny import ITEMS as CATALOGUE

# Choosing


@given(st.integers(1, 60), st.integers(1, 4), st.integers(0, 2**31))
def test_what_is_cross_validated_is_of_the_options_and_at_most_the_best_of_each_case(
    cases: int, options: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    gains = rng.random((options, cases))
    honest = Judge(rng.integers(0, 1 + cases // 2, cases).astype(np.int32), seed).cross_validated(gains)
    assert (honest[None] == gains).any(axis=0).all()
    assert (honest <= gains.max(axis=0)).all()


def test_one_case_a_user_has_the_error_of_a_mean() -> None:
    rng = np.random.default_rng(0)
    gains, baseline = rng.random((2, 300))
    found = Judge(np.arange(300, dtype=np.int32), 0).difference(gains, baseline)
    change = gains - baseline
    assert found.mean == pytest.approx(change.mean())
    assert found.error == pytest.approx(change.std(ddof=1) / np.sqrt(300))


def test_cases_of_one_user_count_as_one() -> None:
    change = np.random.default_rng(0).random(200)
    once = Judge(np.arange(200, dtype=np.int32), 0).difference(change, np.zeros(200))
    thrice = Judge(np.repeat(np.arange(200, dtype=np.int32), 3), 0).difference(np.repeat(change, 3), np.zeros(600))
    assert thrice.error == pytest.approx(once.error)


def test_the_best_of_many_that_are_all_luck_is_no_gain() -> None:
    """Of 30 options as good as the baseline, the best looks better beyond doubt; cross-validated, it seldom does."""
    rng, naive, honest = np.random.default_rng(1), [], []
    judge = Judge(np.arange(400, dtype=np.int32), 0)
    for _ in range(100):
        every = (rng.random((31, 400)) < 0.1).astype(float)
        naive.append(judge.difference(every[every.mean(axis=1).argmax()], every[0]).is_gain)
        honest.append(judge.difference(judge.cross_validated(every), every[0]).is_gain)
    assert np.mean(naive) > 0.5
    assert np.mean(honest) < 0.25


def test_folds_keep_a_users_cases_together() -> None:
    """The option that is best for one user alone must not be chosen by that user's other cases."""
    users = np.repeat(np.arange(2 * FOLDS, dtype=np.int32), 3)
    gains = np.zeros((2 * FOLDS + 1, len(users)))
    gains[0] = 0.01
    for user in range(2 * FOLDS):
        gains[user + 1, users == user] = 0.05
    assert (Judge(users, 0).cross_validated(gains) <= 0.01).all()


# Kinds


def of_kinds(counts: Sequence[int], weights: Sequence[float]) -> Cases:
    """A case with so many events of each kind."""
    kinds = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    own = cases_of([[0] * len(kinds)], [[1.0] * len(kinds)])
    return replace(own, kinds=(kinds,), kind_names=tuple("abcd"[: len(counts)]), kind_weights=tuple(weights))


@pytest.mark.parametrize(
    ("counts", "weights", "offered"),
    [
        ([900, 99, 1], [1.0, 2.0, 1.0], {1: [0.5, 1.0, 4.0]}),  # what is rarer than one in a hundred stays
        ([100, 300, 50], [1.0, 1.0, 0.0], {0: [0.25, 0.5, 2.0], 2: [1.0]}),
        ([300, 100, 50], [0.0, 1.0, 1.0], {0: [1.0], 2: [0.25, 0.5, 2.0]}),  # what weighs nothing is no measure
        ([100], [1.0], {}),
    ],
)
def test_other_weights_of_kinds_are_offered(
    counts: list[int], weights: list[float], offered: dict[int, list[float]]
) -> None:
    assert dict(other_kind_weights(of_kinds(counts, weights))) == offered


# Searching


class Told:
    """Scores of a space that are told by the number of events and the recency of a way."""

    is_linear = True

    def __init__(self, told: Callable[[Way], Scores]) -> None:
        first = told(Way("sum", 1.0, 1.0, 6))
        self.space, self._told, self.is_empty = SimpleNamespace(items=range(first.shape[1])), told, not first.any()

    def scores(self, way: Way) -> Scores:
        return self._told(way)

    def of(self, cases: Cases) -> Told:
        return self


class Offered:
    """Two learned spaces, of one setting each, beside a text space that knows nothing."""

    def __init__(self, spaces: dict[str, Told], nothing: Told) -> None:
        self._spaces, self._way = spaces, Way("sum", 1.0, 1.0, 10)
        self.configured_text = Candidate("text", ItemsConfig(), nothing, self._way)  # type: ignore[arg-type]

    def learned(self, name: str, settings: LearnedConfig) -> Candidate:
        return Candidate(name, settings, self._spaces[name], self._way)  # type: ignore[arg-type]

    def variants(self) -> Iterator[tuple[str, list[list[LearnedConfig]]]]:
        return ((name, [[LearnedConfig(dim=8)]]) for name in self._spaces)

    def priors(self) -> Iterator[Candidate]:
        return iter(())


def test_a_space_that_says_the_same_of_the_newest_may_be_of_use_for_what_a_user_always_likes() -> None:
    """By itself it is best of the newest, as the other is, and adds nothing; of a long history it is worse, but new."""
    rng, count, items = np.random.default_rng(0), 400, 50
    cases = replace(cases_of([[0, 1]] * count, [[1.0, 1.0]] * count), targets=np.full(count, 7, dtype=np.int32))
    noise, other, weak = (rng.normal(size=(count, items)).astype(np.float32) for _ in range(3))
    noise[:, 7] += 1.5
    other[:, 7] += 1.0
    weak[:, 7] += 0.2
    newest = Told(lambda way: noise if way.max_events == 10 else weak)
    both = Told(lambda way: noise if way.max_events == 10 else other if way.recency == 1.0 else weak)
    search = Search(cases, Judge(cases.users, 0), lambda line: None)
    search.run(Offered({"ease": newest, "factorisation": both}, Told(lambda way: 0 * weak)))  # type: ignore[arg-type]
    found = {chosen.candidate.name: chosen.way for chosen in search.chosen}
    assert found["ease"].max_events == 10
    assert (found["factorisation"].max_events, found["factorisation"].recency) == (50, 1.0)
    assert search.gains.mean() > gains(noise, cases).mean() + 0.05


# Cases


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_that_is_asked_for_is_left_in_what_is_fitted_on(protocol: str) -> None:
    log = random_log(users=80, items=30, seed=2, longest=12)
    config = parse_segments("[history.kinds]\nbuy = 2.0\n")
    cases = make_cases(log, 30, config, cutter_of(), protocol, seed=0)
    assert len(cases) > 80, "few users: several items of each"
    known = set(zip(cases.train.user.tolist(), cases.train.item.tolist(), strict=True))
    for user, target, history, weights in zip(cases.users, cases.targets, cases.histories, cases.weights, strict=True):
        assert (int(user), int(target)) not in known
        assert target not in history
        assert weights.tolist() == [2.0 if row % 2 else 1.0 for row in history.tolist()]


def test_many_users_give_one_case_each() -> None:
    log = log_of([[(0, 0), (1, 1), (2, 2), (3, 3)]] * 1_600)
    cases = make_cases(log, 4, DEFAULT, cutter_of(), PLAIN, seed=0)
    assert len(cases) == len(set(cases.users.tolist())) == 1_600
    assert len(cases.train) == 3 * 1_600


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_case_is_of_the_time_when_its_target_was_met(protocol: str) -> None:
    log = log_of([[(item, 10 * user + 3 * item) for item in range(8)] for user in range(60)])
    cases = make_cases(log, len(CATALOGUE), DEFAULT, cutter_of(), protocol, seed=0)
    assert len(cases) > 60
    assert cases.timestamps is not None
    assert cases.timestamps.tolist() == (10 * cases.users + 3 * cases.targets).tolist()
    assert [own.tolist() for own in cases.times] == [
        (10 * user + 3 * own).tolist() for user, own in zip(cases.users, cases.histories, strict=True)
    ]
    without = replace(log, timestamp=np.zeros_like(log.timestamp))
    timeless = make_cases(without, len(CATALOGUE), DEFAULT, cutter_of(), PLAIN, seed=0)
    assert timeless.timestamps is None
