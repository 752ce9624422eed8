"""The two protocols on logs written down by hand, equal timestamps among them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesserank.errors import DataError
from tesserank_evaluation.slices import SLICES, slices_of
from tesserank_evaluation.split import make_cases
from tesserank_export.heldout import PLAIN, PROTOCOLS, STRICT, hold_out_last
from tests.evaluation.logs import log_of, random_log

ALL = 10**6
LOG = log_of(
    [
        [(0, 1), (1, 2), (0, 3), (2, 5), (3, 5)],  # the target 3 shares its time with 2
        [(4, 1), (5, 1)],  # two items: nothing is hidden
        [(0, 1), (1, 1), (2, 1)],  # all at one time: strict knows nothing
        [(1, 1), (2, 2), (3, 3), (1, 4), (3, 5)],  # 3 comes again, and 1 after it
        [(0, 1), (1, 2), (2, 2)],  # strict knows one item: too little
    ]
)


def test_plain_knows_every_item_before_the_target_and_keeps_all_else() -> None:
    cases = make_cases(LOG, ALL, 0, PLAIN)
    assert cases.held.users.tolist() == [0, 2, 3, 4]
    assert cases.targets.tolist() == [3, 2, 3, 2]
    assert [history.items.tolist() for history in cases.histories] == [[0, 1, 2], [0, 1], [1, 2], [0, 1]]
    kept = [history.tolist() for history in cases.held.train.histories()]
    assert kept == [[0, 1, 0, 2], [4, 5], [0, 1], [1, 2, 1], [0, 1]]
    assert cases.same_time.tolist() == [True, True, False, True]
    assert cases.too_little_known == 0


def test_strict_knows_and_keeps_only_what_happened_before_the_targets_time() -> None:
    cases = make_cases(LOG, ALL, 0, STRICT)
    assert cases.held.users.tolist() == [0, 3]
    assert cases.targets.tolist() == [3, 3]
    assert [history.items.tolist() for history in cases.histories] == [[0, 1], [1, 2]]
    kept = [history.tolist() for history in cases.held.train.histories()]
    assert kept == [[0, 1, 0], [4, 5], [], [1, 2], [0]]
    assert cases.too_little_known == 2


def test_times_and_kinds_are_those_of_the_first_occurrence() -> None:
    [first, *_] = make_cases(LOG, ALL, 0, PLAIN).histories
    assert first.timestamps.tolist() == [1, 2, 5]
    assert first.kinds == ("view", "buy", "view")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_users_ask_when_the_target_was_met(protocol: str) -> None:
    cases = make_cases(LOG, ALL, 0, protocol)
    asked = dict(zip(cases.held.users.tolist(), (own.asked_at for own in cases.histories), strict=True))
    assert (asked[0], asked[3]) == (5, 3)


def test_nobody_knows_when_they_ask_without_timestamps() -> None:
    timeless = log_of([[(item, 0) for item in range(4)]] * 2)
    assert {own.asked_at for own in make_cases(timeless, ALL, 0, PLAIN).histories} == {None}


def test_strict_without_timestamps_and_a_log_without_users_are_refused() -> None:
    with pytest.raises(DataError, match="strict protocol needs timestamps, which this log lacks"):
        make_cases(log_of([[(0, 0), (1, 0), (2, 0)]]), ALL, 0, STRICT)
    with pytest.raises(DataError, match="nobody to rank for: the plain protocol keeps fewer than 3 distinct items"):
        make_cases(log_of([[(0, 1), (1, 2)]]), ALL, 0, PLAIN)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(seed=st.integers(0, 10**6))
def test_no_target_is_left_in_what_is_fitted_and_none_is_known(protocol: str, seed: int) -> None:
    log = random_log(12, 6, seed)
    held = hold_out_last(log, ALL, 0, protocol)
    everybody = hold_out_last(log, ALL, 0, PLAIN)
    for user, target in zip(everybody.users.tolist(), everybody.targets.tolist(), strict=True):
        assert target not in held.train.item[held.train.user == user]
    moments = {int(log.user[places[-1]]): int(log.timestamp[places[-1]]) for places in everybody.places}
    for user, target, history in zip(held.users.tolist(), held.targets.tolist(), held.histories, strict=True):
        assert target not in history
        assert len(set(history.tolist())) == len(history) >= 2
        own = held.train.user == user
        assert set(history.tolist()) <= set(held.train.item[own].tolist())
        if protocol == STRICT:
            assert held.train.timestamp[own].max() < moments[user]


def test_a_sample_hides_the_items_of_the_others_too_and_the_digest_is_of_the_log_alone() -> None:
    log = random_log(60, 9, 3)
    few, all_users = hold_out_last(log, 5, 0), hold_out_last(log, ALL, 7)
    assert (len(few.users), few.digest) == (5, all_users.digest)
    assert few.hidden == all_users.hidden == all_users.eligible == len(all_users.users)
    assert few.digest != hold_out_last(log, 5, 0, STRICT).digest


def test_slices_go_by_the_events_to_learn_from_by_length_and_by_time() -> None:
    many = [[(9, 1), (8, 2), (7, 3)] for _ in range(5)]
    long = [(item, item + 1) for item in range(10, 31)]
    log = log_of([[(0, 1), (1, 2), (2, 2)], [*long, (0, 90)], [(1, 1), (2, 2), (9, 9)], *many])
    parts = slices_of(make_cases(log, ALL, 0, PLAIN), 31)
    assert list(parts) == list(SLICES)
    found = {name: np.flatnonzero(mask).tolist() for name, mask in parts.items()}
    # 7 is everybody's last item and known to nobody; 0 and 2 are known from one user each; 9 from five.
    assert found["unseen target"] == [3, 4, 5, 6, 7]
    assert found["rare target"] == [0, 1]
    assert found["long history"] == [1]
    assert found["short history"] == [0, 2, 3, 4, 5, 6, 7]
    assert found["same time"] == [0]
