"""Interleaving: every case as often as it should, spread over all rounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesserank_bench.latency.rounds import Case, run_rounds, schedule


def make_case(name: str, repeats: int, call: Callable[[], Any] = lambda: None) -> Case:
    return Case({"path": name}, repeats, lambda turn: (call, lambda answer: None))


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(1, 20), st.integers(0, 5))
def test_each_case_runs_as_often_as_it_should_evenly(repeats: list[int], rounds: int, seed: int) -> None:
    cases = [make_case(str(number), count) for number, count in enumerate(repeats)]
    turns = [Counter(case.key["path"] for case in due) for due in schedule(cases, rounds, seed)]
    assert len(turns) == rounds
    for case in cases:
        counts = [turn[case.key["path"]] for turn in turns]
        assert sum(counts) == case.repeats
        assert max(counts) - min(counts) <= 1
        assert counts[0] == max(counts)  # what is broken shows in the first round


def test_rounds_are_shuffled_and_equal_seeds_shuffle_alike() -> None:
    cases = [make_case(str(number), 10) for number in range(8)]

    def order(seed: int) -> list[list[Any]]:
        return [[case.key["path"] for case in due] for due in schedule(cases, 10, seed)]

    assert order(1) == order(1) != order(2)
    assert len({tuple(due) for due in order(1)}) == 10


def test_only_the_call_is_timed_and_its_answer_checked() -> None:
    checked: list[tuple[int, str]] = []

    def prepare(turn: int) -> tuple[Callable[[], str], Callable[[str], None]]:
        return lambda: f"answer {turn}", lambda answer: checked.append((turn, answer))

    case = Case({}, 3, prepare)
    finished: list[int] = []
    run_rounds([case], 3, 0, finished.append)
    assert checked == [(0, "answer 0"), (1, "answer 1"), (2, "answer 2")]
    assert finished == [1, 2, 3]
    assert len(case.seconds) == 3
    assert max(case.seconds) < 0.5


def test_what_was_measured_before_an_interruption_is_kept() -> None:
    def interrupt() -> None:
        if len(quick.seconds) == 2:
            raise KeyboardInterrupt

    quick, slow = make_case("quick", 5), make_case("slow", 5, interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_rounds([quick, slow], 5, 0, lambda done: None)
    assert len(quick.seconds) == 2
    assert len(slow.seconds) in (1, 2)


def test_a_sample_whose_answer_is_wrong_is_none() -> None:
    def refuse(answer: Any) -> None:
        raise RuntimeError("not as cold as it claims")

    case = Case({}, 1, lambda turn: (lambda: None, refuse))
    with pytest.raises(RuntimeError, match="not as cold"):
        run_rounds([case], 1, 0, lambda done: None)
    assert case.seconds == []
