"""Fine-tuning a tiny cross-encoder: what it learns, that it goes on where it was cut off, and what it never sees."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from tesserank.encoding.template import Template
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.errors import DataError
from tesserank_bench.finetune.examples import Examples
from tesserank_bench.finetune.network import CrossEncoder
from tesserank_bench.finetune.training import FineTuner, Pairs, Recipe
from tesserank_evaluation.recommender import Scores
from tesserank_evaluation.split import Cases, History, make_cases
from tesserank_export.checkpoint import Checkpoint, resolve_checkpoint
from tesserank_export.events import Events
from tests.evaluation.logs import log_of
from tests.export.tiny import save_bert

N_ITEMS = 40
# What follows in the planted log is a gift, whatever came before.
TEXTS = [("gift " if row % 2 else "travel ") + ("soap", "comb", "brush", "cream")[row % 4] for row in range(N_ITEMS)]
RECIPE = Recipe(rate=2e-3, warm_up=5, users=6, negatives=4, depth=30, pair_tokens=32)


class Shuffled:
    """A retriever that knows nothing, but always the same: negatives of both kinds."""

    settings: ClassVar[dict[str, str]] = {}

    def scores(self, histories: Sequence[History]) -> Scores:
        row = np.random.default_rng(5).random(N_ITEMS, dtype=np.float32)
        return np.tile(row, (len(histories), 1))


def planted(users: int = 60) -> Events:
    rng = np.random.default_rng(1)
    odd, even = np.arange(1, N_ITEMS, 2), np.arange(0, N_ITEMS, 2)
    paths = [[int(rng.choice(even)), *rng.choice(odd, size=4, replace=False).tolist()] for _ in range(users)]
    return log_of([list(zip(path, range(5), strict=True)) for path in paths])


@pytest.fixture(scope="module")
def cases() -> Cases:
    return make_cases(planted(), 2**31, 0, "plain")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return resolve_checkpoint(str(save_bert(tmp_path_factory.mktemp("bert"))))


@pytest.fixture(scope="module")
def pairs(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    checkpoint.save_tokenizer(file)
    return Pairs(TEXTS, TextTokenizer(file), checkpoint.template())


def examples_of(log: Events) -> Examples:
    return Examples(log, TEXTS, Shuffled(), RECIPE.users, RECIPE.negatives, RECIPE.depth, 0)


def tuner(network: CrossEncoder, cases: Cases, pairs: Pairs, file: Path) -> FineTuner:
    clock = itertools.count(step=20.0)  # a step takes twenty seconds, so that every second one is saved
    return FineTuner(network, examples_of(cases.held.train), pairs, RECIPE, 0, file, lambda: next(clock))


def nothing() -> None:
    pass


def test_what_comes_next_is_learned(checkpoint: Checkpoint, cases: Cases, pairs: Pairs, tmp_path: Path) -> None:
    """Gifts against what is none: after training every gift that comes next, also one never drawn, beats it."""
    network = CrossEncoder(checkpoint, 0)
    tuning = tuner(network, cases, pairs, tmp_path / "state.pt")
    tuning.run(60 * 20.0, nothing)
    assert len(tuning.losses) == 60
    assert tuning.seconds == 1200.0
    assert np.mean(tuning.losses[-10:]) < np.mean(tuning.losses[:10]) - 0.2
    network.eval()
    unseen = [example for step in range(1_000, 1_010) for example in examples_of(cases.held.train).of_step(step)]
    with torch.inference_mode():
        for example in unseen:
            scores = network(*map(torch.from_numpy, pairs.of(example))).numpy()
            gifts = np.array([TEXTS[row].startswith("gift") for row in example.items.tolist()])
            assert gifts[0]
            assert gifts.all() or scores[gifts].min() > scores[~gifts].max()


@pytest.mark.parametrize("steps", [1, 3, 4])
def test_what_was_cut_off_goes_on_to_the_same_weights(
    steps: int, checkpoint: Checkpoint, cases: Cases, pairs: Pairs, tmp_path: Path
) -> None:
    whole = CrossEncoder(checkpoint, 0)
    uninterrupted = tuner(whole, cases, pairs, tmp_path / "whole.pt")
    uninterrupted.run(120.0, nothing)

    first = tuner(CrossEncoder(checkpoint, 0), cases, pairs, tmp_path / "cut.pt")

    def cut_off() -> None:
        if len(first.losses) == steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.run(120.0, cut_off)
    network = CrossEncoder(checkpoint, 0)
    second = tuner(network, cases, pairs, tmp_path / "cut.pt")
    assert len(second.losses) == steps // 2 * 2, "what was saved last"
    second.run(120.0, nothing)
    assert second.losses == uninterrupted.losses
    assert second.seconds == uninterrupted.seconds == 120.0
    for one, other in zip(network.parameters(), whole.parameters(), strict=True):
        assert torch.equal(one, other)


def test_more_time_goes_on_and_as_much_does_nothing(
    checkpoint: Checkpoint, cases: Cases, pairs: Pairs, tmp_path: Path
) -> None:
    tuner(CrossEncoder(checkpoint, 0), cases, pairs, tmp_path / "state.pt").run(40.0, nothing)
    again = tuner(CrossEncoder(checkpoint, 0), cases, pairs, tmp_path / "state.pt")
    again.run(40.0, nothing)
    assert len(again.losses) == 2
    again.run(80.0, nothing)
    assert len(again.losses) == 4


def test_targets_and_what_a_user_met_are_never_drawn(cases: Cases) -> None:
    log = cases.held.train
    histories = {own.tobytes(): own for own in log.histories()}
    ends: set[bytes] = set()
    examples = examples_of(log)
    for example in itertools.chain.from_iterable(examples.of_step(step) for step in range(40)):
        known = np.append(example.history.items, example.items[0])
        of = [own for own in histories.values() if np.array_equal(own[: len(known)], known)]
        assert of, "a history and what came next are how a history of the log without targets begins"
        assert any(not np.isin(example.items[1:], own).any() for own in of)
        assert len(example.items) == 1 + RECIPE.negatives == len(set(example.items.tolist()))
        ends.add(known.tobytes())
    assert len(ends) > 60, "users, and positions of theirs"


def test_the_same_step_draws_the_same_whatever_the_targets_are(cases: Cases) -> None:
    """Also a last item that the log has nowhere else."""
    events = planted()
    items = events.item.copy()
    items[4::5] = np.where(items[4::5] == 1, 3, 1)
    own = items.reshape(-1, 5)
    own[(own[:, :4] == own[:, 4:]).any(axis=1), 4] = 0  # the last must be new: an even one that did not come first
    own[own[:, 0] == own[:, 4], 4] = 2
    rows = list(zip(items.tolist(), events.timestamp.tolist(), strict=True))
    other = make_cases(log_of([rows[at : at + 5] for at in range(0, len(rows), 5)]), 2**31, 0, "plain")
    assert (other.targets != cases.targets).all()
    drawn = (examples_of(own.held.train).of_step(3) for own in (other, cases))
    for one, two in zip(*drawn, strict=True):
        np.testing.assert_array_equal(one.items, two.items)


def test_pairs_are_cut_to_their_length(checkpoint: Checkpoint, cases: Cases, tmp_path: Path) -> None:
    checkpoint.save_tokenizer(tmp_path / "tokenizer.json")
    template: Template = checkpoint.template()
    short = Template(template.prefix, template.separator, template.suffix, template.pad, max_tokens=8)
    pairs = Pairs(TEXTS, TextTokenizer(tmp_path / "tokenizer.json"), short)
    lengths = []
    for example in examples_of(cases.held.train).of_step(0):
        ids, mask = pairs.of(example)
        assert ids.shape == mask.shape
        assert ids.shape[1] <= 8
        lengths.append(ids.shape[1])
    assert max(lengths) == 8


def test_a_log_in_which_nothing_comes_next_is_refused() -> None:
    with pytest.raises(DataError, match="nobody of 2 users met two items"):
        examples_of(log_of([[(1, 0), (1, 1)], [(2, 0)]]))
