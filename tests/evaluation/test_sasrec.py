"""SASRec on planted sequences, small enough to be trained here."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tesserank.errors import ArtifactError
from tesserank.index import ItemIndex
from tesserank_evaluation.baselines.popularity import Popularity
from tesserank_evaluation.baselines.sasrec import fitting
from tesserank_evaluation.baselines.sasrec.batches import ABSENT, batches, sequences_of, stacked
from tesserank_evaluation.baselines.sasrec.fitting import PATIENCE, SasRec, SasRecOptions, fit_sasrec
from tesserank_evaluation.baselines.sasrec.model import Recipe, SasRecNetwork
from tesserank_evaluation.baselines.sasrec.training import Trainer
from tesserank_evaluation.metrics import gains
from tesserank_evaluation.ranking import rank
from tesserank_evaluation.recommender import Recommender, Training
from tesserank_evaluation.split import Cases, History, make_cases
from tesserank_export.events import Events
from tesserank_export.heldout import PLAIN, PROTOCOLS
from tests.evaluation.logs import log_of

N_ITEMS = 30
SMALL = Recipe(dim=16, blocks=1, heads=2, dropout=0.1, length=8, rate=0.01)


def planted(users: int, seed: int, step: int = 7) -> Events:
    """Everybody goes from an item of their own to the one ``step`` places on, time and again."""
    rng = np.random.default_rng(seed)
    starts, lengths = rng.integers(N_ITEMS, size=users).tolist(), rng.integers(4, 12, size=users).tolist()
    paths = [
        [((start + step * place) % N_ITEMS, place) for place in range(length)]
        for start, length in zip(starts, lengths, strict=True)
    ]
    return log_of(paths)


def training_of(events: Events, index: ItemIndex) -> Training:
    return Training(events, ["x"] * N_ITEMS, index, 3, PLAIN)


def ndcg(recommender: Recommender, cases: Cases) -> float:
    ranked = rank(recommender, cases, N_ITEMS, lambda count: None)
    return float(gains(ranked.better, ranked.tied)["ndcg@10"].mean())


def options(folder: Path, budget_s: float = 60.0, **more: object) -> SasRecOptions:
    return SasRecOptions(budget_s, folder, threads=1, recipe=SMALL, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def cases() -> Cases:
    return make_cases(planted(150, 0), 2**31, 0, "plain")


@pytest.fixture(scope="module")
def fitted(cases: Cases, index: ItemIndex, tmp_path_factory: pytest.TempPathFactory) -> SasRec:
    return fit_sasrec(training_of(cases.held.train, index), options(tmp_path_factory.mktemp("fitted")))


def test_what_follows_what_is_learned(fitted: SasRec, cases: Cases, index: ItemIndex) -> None:
    assert ndcg(fitted, cases) > 0.95
    assert ndcg(Popularity(training_of(cases.held.train, index)), cases) < 0.4


def test_the_settings_say_how_long_it_trained_and_that_it_converged(fitted: SasRec) -> None:
    settings = fitted.settings
    assert settings["converged"] is True
    assert settings["search_epochs"] == settings["epochs"] + PATIENCE
    assert settings["held_out_ndcg@10"] > 0.9
    assert settings["search_s"] > 0 < settings["fit_s"]
    assert settings["dim"] == SMALL.dim


def test_training_stops_where_its_time_is_spent_and_says_that_it_had_not_converged(
    cases: Cases, index: ItemIndex, tmp_path: Path
) -> None:
    clock = itertools.count(step=10.0)  # each epoch takes ten seconds
    found = fit_sasrec(training_of(cases.held.train, index), options(tmp_path, 60.0, clock=lambda: next(clock)))
    assert found.settings["converged"] is False
    assert found.settings["search_epochs"] == 3  # half of a minute
    assert found.settings["search_s"] == 30.0
    assert found.settings["epochs"] <= 3


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_epochs_are_chosen_by_the_protocol_that_judges(
    protocol: str, cases: Cases, index: ItemIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Cases] = []

    def spied(*arguments: Any) -> Cases:
        made.append(make_cases(*arguments))
        return made[-1]

    monkeypatch.setattr(fitting, "make_cases", spied)
    training = replace(training_of(cases.held.train, index), protocol=protocol)
    found = fit_sasrec(training, options(tmp_path, budget_s=0.0))
    assert found.settings["search_epochs"] == 1
    assert [(own.protocol, len(own)) for own in made] == [(protocol, len(cases))]


def test_training_on_a_log_of_other_times_is_another(cases: Cases, index: ItemIndex, tmp_path: Path) -> None:
    events = cases.held.train
    for timestamp in (events.timestamp, events.timestamp // 2):
        own = training_of(replace(events, timestamp=timestamp), index)
        fit_sasrec(own, options(tmp_path, budget_s=0.0))
    assert len(list(tmp_path.iterdir())) == 2


def test_targets_are_never_seen(cases: Cases, fitted: SasRec, index: ItemIndex, tmp_path: Path) -> None:
    """Another last item of every user leaves every score as it was, to the bit."""
    events = planted(150, 0)
    last = np.append(np.flatnonzero(np.diff(events.user)), len(events) - 1)
    changed = events.item.copy()
    changed[last] = (changed[last] + 1) % N_ITEMS  # steps of 7 lead back to nothing that soon
    other = make_cases(log_of(_histories(events, changed)), 2**31, 0, "plain")
    assert (other.targets != cases.targets).all()
    again = fit_sasrec(training_of(other.held.train, index), options(tmp_path))
    np.testing.assert_array_equal(again.scores(other.histories), fitted.scores(cases.histories))


def _histories(events: Events, items: NDArray[np.int32]) -> list[list[tuple[int, int]]]:
    rows = zip(items.tolist(), events.timestamp.tolist(), strict=True)
    lengths = np.bincount(events.user).tolist()
    return [list(itertools.islice(rows, length)) for length in lengths]


@pytest.mark.parametrize("lines", [2, 14])
def test_what_was_cut_off_goes_on_to_the_same_scores(
    lines: int, fitted: SasRec, cases: Cases, index: ItemIndex, tmp_path: Path
) -> None:
    """In the search for the number of epochs, and in training on the whole log."""
    said: list[str] = []

    def cut_off(line: str) -> None:
        said.append(line)
        if len(said) == lines:
            raise KeyboardInterrupt

    training = training_of(cases.held.train, index)
    with pytest.raises(KeyboardInterrupt):
        fit_sasrec(training, options(tmp_path, say=cut_off))
    again = fit_sasrec(training, options(tmp_path, say=said.append))
    np.testing.assert_array_equal(again.scores(cases.histories), fitted.scores(cases.histories))
    epochs = fitted.settings["epochs"]
    assert len(said) == len(set(said)) == 2 * epochs + PATIENCE, "no epoch was run twice"
    assert sum("whole log" in line for line in said) == epochs


def test_an_epoch_cut_off_within_is_run_again_as_it_was(cases: Cases, tmp_path: Path) -> None:
    sequences = sequences_of(cases.held.train, SMALL.length)

    def trainer(name: str) -> Trainer:
        return Trainer(sequences, N_ITEMS, SMALL, 0, tmp_path / name, lambda: 0.0)

    whole = trainer("whole.pt")
    losses = [whole.run_epoch(_norm) for _ in range(3)]
    assert losses[2] < losses[0]

    def fail(network: SasRecNetwork) -> float:
        raise KeyboardInterrupt

    first = trainer("cut.pt")
    first.run_epoch(_norm)
    with pytest.raises(KeyboardInterrupt):
        first.run_epoch(fail)
    second = trainer("cut.pt")
    assert second.epochs == 1
    assert [second.run_epoch(_norm) for _ in range(2)] == losses[1:]
    assert second.notes == whole.notes
    for one, other in zip(second.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(one, other)


def _norm(network: SasRecNetwork) -> float:
    return float(network.items.weight.detach().norm())


def test_a_broken_state_is_said_with_its_remedy(cases: Cases, index: ItemIndex, tmp_path: Path) -> None:
    training = training_of(cases.held.train, index)
    clock: Callable[[], float] = itertools.count(step=100.0).__next__
    fit_sasrec(training, options(tmp_path, clock=clock))
    [file] = tmp_path.glob("*/search.pt")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ArtifactError, match=r"search.pt cannot be read .*delete it to train anew"):
        fit_sasrec(training, options(tmp_path, clock=clock))


def test_a_log_without_anybody_to_check_on_is_trained_on_all_the_same(index: ItemIndex, tmp_path: Path) -> None:
    pairs = log_of([[(item, 0), ((item + 1) % N_ITEMS, 1)] for item in range(N_ITEMS)] * 3)
    found = fit_sasrec(training_of(pairs, index), options(tmp_path))
    assert found.settings["converged"] is None
    history = History(np.array([4], dtype=np.int32), np.zeros(1, dtype=np.int64), ("view",))
    assert found.scores([history])[0].argmax() == 5


def test_scores_do_not_depend_on_who_else_is_asked_for(fitted: SasRec, cases: Cases) -> None:
    together = fitted.scores(cases.histories[:20])
    alone = np.concatenate([fitted.scores([history]) for history in cases.histories[:20]])
    assert len({len(history.items) for history in cases.histories[:20]}) > 3
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


def test_what_comes_later_changes_nothing_before() -> None:
    network = SasRecNetwork(N_ITEMS, SMALL).eval()
    rows = torch.tensor([[3, 5, 7, 9], [3, 5, 7, 11]])
    one, other = network(rows)
    torch.testing.assert_close(one[:3], other[:3])
    assert not torch.allclose(one[3], other[3])


@given(
    lengths=st.lists(st.integers(2, 40), min_size=1, max_size=400),
    seed=st.integers(0, 10),
)
def test_batches_have_every_sequence_once_in_nearly_one_length(lengths: list[int], seed: int) -> None:
    sequences = [np.arange(length, dtype=np.int32) + 100 * row for row, length in enumerate(lengths)]
    found = []
    for inputs, following in batches(sequences, np.random.default_rng(seed)):
        assert inputs.shape == following.shape
        assert len(inputs) <= 128
        assert inputs.size <= 4_096
        np.testing.assert_array_equal(inputs == ABSENT, following == ABSENT)
        for own, after in zip(inputs, following, strict=True):
            known = own[own != ABSENT]
            np.testing.assert_array_equal(after[after != ABSENT], known + 1)
            found.append((known[0] // 100, len(known) + 1))
    assert sorted(found) == list(enumerate(lengths))


def test_sequences_are_the_newest_items_at_their_first_occurrence() -> None:
    log = log_of([[(1, 0), (2, 1), (1, 2), (3, 3), (4, 4), (5, 5)], [(6, 0), (6, 1)]])
    [found] = sequences_of(log, 3)
    assert found.tolist() == [2, 3, 4, 5]
    np.testing.assert_array_equal(stacked([found, found[:1]]), [[2, 3, 4, 5], [2, ABSENT, ABSENT, ABSENT]])
