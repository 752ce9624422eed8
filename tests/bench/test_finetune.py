"""Fine-tuning a tiny cross-encoder: what it learns, that it goes on where it was cut off, and what it never sees."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
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
from tesserank_evaluation.ranking import best_lists
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


def examples_of(cases: Cases, depth: int = RECIPE.depth, log: Events | None = None) -> Examples:
    own = planted() if log is None else log
    return Examples(own, cases, TEXTS, Shuffled(), RECIPE.users, RECIPE.negatives, depth, 0)


def tuner(network: CrossEncoder, cases: Cases, pairs: Pairs, file: Path) -> FineTuner:
    clock = itertools.count(step=20.0)  # a step takes twenty seconds, so that every second one is saved
    return FineTuner(network, examples_of(cases), pairs, RECIPE, 0, file, lambda: next(clock))


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
    unseen = [example for step in range(1_000, 1_010) for example in examples_of(cases).of_step(step)]
    with torch.inference_mode():
        for example in unseen:
            scores = network(*map(torch.from_numpy, pairs.of(example))).numpy()
            gifts = np.array([TEXTS[row].startswith("gift") for row in example.items.tolist()])
            assert gifts[0]
            assert gifts.all() or scores[gifts].min() > scores[~gifts].max()


def test_bfloat16_learns_nearly_the_same(checkpoint: Checkpoint, cases: Cases, pairs: Pairs, tmp_path: Path) -> None:
    losses = []
    for bf16 in (False, True):
        clock = itertools.count(step=20.0)
        network, recipe = CrossEncoder(checkpoint, 0), replace(RECIPE, bf16=bf16)
        tuning = FineTuner(
            network, examples_of(cases), pairs, recipe, 0, tmp_path / f"{bf16}.pt", lambda own=clock: next(own)
        )
        tuning.run(10 * 20.0, nothing)
        assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
        losses.append(tuning.losses)
    assert losses[0] != losses[1]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.05)


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


def test_what_came_next_is_beside_others_that_were_found(cases: Cases) -> None:
    of_user = {history.items.tobytes(): place for place, history in enumerate(cases.histories)}
    [best] = best_lists(Shuffled().scores(cases.histories[:1]), [np.zeros(0, dtype=np.int32)], RECIPE.depth + 4)
    examples, seen = examples_of(cases), set[int]()
    for example in itertools.chain.from_iterable(examples.of_step(step) for step in range(40)):
        place = of_user[example.history.items.tobytes()]
        assert example.items[0] == cases.targets[place]
        assert len(example.items) == 1 + RECIPE.negatives == len(set(example.items.tolist()))
        assert np.isin(example.items, best).all()
        assert not np.isin(example.items, example.history.items).any()
        seen.add(place)
    assert len(seen) > 30, "users"


def test_who_is_not_found_is_not_learned_from(cases: Cases) -> None:
    found = {example.items[0] for step in range(40) for example in examples_of(cases, depth=5).of_step(step)}
    [best] = best_lists(Shuffled().scores(cases.histories[:1]), [np.zeros(0, dtype=np.int32)], 9)
    assert found
    assert np.isin(list(found), best).all()
    assert not np.isin(cases.targets, best).all()


def test_what_came_with_the_target_is_no_negative() -> None:
    """Strict knows nothing of the rest of a basket, and what was bought is not what was not."""
    rng = np.random.default_rng(4)
    baskets = [rng.permutation(N_ITEMS)[:12].tolist() for _ in range(60)]
    log = log_of([[(item, min(place, 4)) for place, item in enumerate(own)] for own in baskets])
    cases = make_cases(log, None, 0, "strict")
    of_user = {history.items.tobytes(): set(own) for history, own in zip(cases.histories, baskets, strict=True)}
    examples = examples_of(cases, log=log)
    for example in itertools.chain.from_iterable(examples.of_step(step) for step in range(20)):
        assert len(example.history.items) == 4
        assert not of_user[example.history.items.tobytes()] & set(example.items[1:].tolist())


def test_a_step_draws_the_same_examples_again(cases: Cases) -> None:
    examples = examples_of(cases)
    drawn = [examples.of_step(step) for step in (3, 4)]
    for step, before in zip((3, 4), drawn, strict=True):
        for one, again in zip(before, examples_of(cases).of_step(step), strict=True):
            np.testing.assert_array_equal(one.items, again.items)
            assert one.history == again.history
    assert any(one.items.tolist() != other.items.tolist() for one, other in zip(*drawn, strict=True))


def test_pairs_are_cut_to_their_length(checkpoint: Checkpoint, cases: Cases, tmp_path: Path) -> None:
    checkpoint.save_tokenizer(tmp_path / "tokenizer.json")
    template: Template = checkpoint.template()
    short = Template(template.prefix, template.separator, template.suffix, template.pad, max_tokens=8)
    pairs = Pairs(TEXTS, TextTokenizer(tmp_path / "tokenizer.json"), short)
    lengths = []
    for example in examples_of(cases).of_step(0):
        ids, mask = pairs.of(example)
        assert ids.shape == mask.shape
        assert ids.shape[1] <= 8
        lengths.append(ids.shape[1])
    assert max(lengths) == 8


class Evens(Shuffled):
    """Finds travel, where gifts come next."""

    def scores(self, histories: Sequence[History]) -> Scores:
        return np.tile((np.arange(N_ITEMS) % 2 == 0).astype(np.float32), (len(histories), 1))


def test_where_nothing_is_found_there_is_nothing_to_learn(cases: Cases) -> None:
    examples = Examples(planted(), cases, TEXTS, Evens(), RECIPE.users, RECIPE.negatives, 5, 0)
    with pytest.raises(DataError, match="among late interaction's best 5 for none of 60 users"):
        examples.of_step(0)
