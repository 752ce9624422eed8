"""The fit: scores as served, choices that luck does not make, and planted structure that it finds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.console import Console

from tesserank.artifact.bundle import open_segments
from tesserank.artifact.layout import Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.artifact.store import current_artifact
from tesserank.cli import main
from tesserank.errors import ConfigError
from tesserank.index import ItemIndex, load_index
from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.vectors import quantise
from tesserank.segments.config import ItemsConfig, LearnedConfig, SegmentsConfig
from tesserank.segments.cut import HistoryCutter
from tesserank.segments.reader import parse_segments
from tesserank.serving.interaction import LateInteraction
from tesserank.serving.request import UserContext
from tesserank_export.events import Events
from tesserank_export.fit.asked import AskedTexts, CaseSegments
from tesserank_export.fit.candidates import Candidate
from tesserank_export.fit.cases import Cases, make_cases
from tesserank_export.fit.choice import FOLDS, Judge
from tesserank_export.fit.kinds import other_kind_weights
from tesserank_export.fit.scoring import Scores, SpaceScores, Way, gains
from tesserank_export.fit.search import Search
from tesserank_export.fit.steps import FitStep, Fitted
from tesserank_export.heldout import PLAIN, PROTOCOLS
from tesserank_export.options import ExportOptions
from tesserank_export.parity import TOLERANCES, MaxErrorError
from tesserank_export.steps import Steps
from tesserank_export.text_space import Texts
from tests.core.tensorboard import read_run
from tests.core.world import (
    ITEMS,
    MOMENTS,
    TEMPLATE,
    TEXT_DIM,
    VOCABULARY,
    CountingEncoder,
    make_config,
    make_embedder,
    make_index,
    unit_rows,
)
from tests.evaluation.logs import log_of, random_log
from tests.export.tiny import ITEMS as CATALOGUE
from tests.export.tiny import make_options, run_export, write_items

HISTORIES = ([1, 2, 3, 10, 5], [11, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [11])
WEIGHTS = (0.5, 0.75, 1.0)
WAYS = (
    Way("sum", 1.0, 1.0, 6),
    Way("sum", 1.0, 0.5, 9),
    Way("softmax", 0.3, 0.8, 6),
    Way("softmax", 2.0, 1.0, 3),
)


DEFAULT = SegmentsConfig()


def cutter_of(config: SegmentsConfig = DEFAULT) -> HistoryCutter:
    return HistoryCutter(config.history, ITEMS, make_index().tokens.lengths)


def times_of(history: Sequence[int]) -> list[int]:
    """Sittings of different lengths, in which items are seconds apart."""
    return [1_000 * (place // 2 + place // 5) + 6 * place for place in range(len(history))]


def cases_of(
    histories: Sequence[Sequence[int]],
    weights: Sequence[Sequence[float]],
    config: SegmentsConfig = DEFAULT,
) -> Cases:
    return Cases(
        train=log_of([]) if not histories else log_of([[(0, 0)]]),
        users=np.arange(len(histories), dtype=np.int32),
        targets=np.zeros(len(histories), dtype=np.int32),
        timestamps=np.array([150 + 70 * row for row in range(len(histories))]),
        histories=tuple(np.array(history, dtype=np.int32) for history in histories),
        times=tuple(np.array(times_of(history)) for history in histories),
        kinds=tuple(np.array([WEIGHTS.index(weight) for weight in own], dtype=np.int32) for own in weights),
        kind_names=tuple(map(str, WEIGHTS)),
        kind_weights=WEIGHTS,
        cut=config.history.cut,
        cutter=cutter_of(config),
        by_item=config.aggregation.group_by_item,
    )


@pytest.mark.parametrize("name", ["text", "collaborative", "transitions", "trend"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_space_scores_as_the_server_does(name: str, way: Way) -> None:
    scored_as_served(name, way)


@pytest.mark.parametrize("by_item", [True, False], ids=["by item", "as wholes"])
@pytest.mark.parametrize("cut", ["session", "content"])
@pytest.mark.parametrize("name", ["text", "collaborative", "transitions", "trend"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_longer_segments_score_as_the_server_does(name: str, way: Way, cut: str, by_item: bool) -> None:
    scored_as_served(name, way, cut, by_item)


def space_scores(
    index: ItemIndex, name: str, cases: Cases, components: NDArray[np.float32] | None = None
) -> SpaceScores:
    """Of segments of several items, texts go through the encoder as they do in the server."""
    space = index.spaces[name]
    if name != "text" or cases.cut == "item":
        return SpaceScores.of_items(space, cases, 9)
    items = [index.token_ids(row).tolist() for row in range(len(index))]
    texts = Texts(items, VOCABULARY, TEXT_DIM, [], TEMPLATE, CountingEncoder())
    asked = AskedTexts(CaseSegments(cases, 9, texts.segments), index.token_weights, components)
    return SpaceScores(space, cases, asked)


@pytest.mark.parametrize("by_item", [True, False], ids=["by item", "as wholes"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_projection_is_applied_to_texts_that_were_encoded_together(way: Way, by_item: bool) -> None:
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(TEXT_DIM, TEXT_DIM)))[0].astype(np.float32)
    scored_as_served("text", way, "session", by_item, Projected(turn), turn)


class Projected(CountingEncoder):
    """The encoder whose projection is followed by another."""

    def __init__(self, components: NDArray[np.float32]) -> None:
        super().__init__()
        self._components = components

    def __call__(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        return unit_rows(super().__call__(ids, mask) @ self._components.T)


@pytest.mark.parametrize("by_item", [True, False], ids=["by item", "as wholes"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_texts_of_one_vector_an_item_score_as_the_server_does(way: Way, by_item: bool) -> None:
    """As of pooled tokens: units are of segments still, and no rows of the space."""
    whole = make_index(kind="int8")
    first = whole.spaces["text"].items.offsets[:-1]
    vectors = whole.spaces["text"].items.decode().vectors[first]
    space = replace(
        whole.spaces["text"],
        items=quantise("int8", Ragged(vectors, np.arange(len(first) + 1))),
        weights=whole.spaces["text"].weights[first],
    )
    scored_as_served("text", way, "content", by_item, index=replace(whole, spaces={**whole.spaces, "text": space}))


def scored_as_served(
    name: str,
    way: Way,
    cut: str = "item",
    by_item: bool = True,
    encoder: CountingEncoder | None = None,
    components: NDArray[np.float32] | None = None,
    index: ItemIndex | None = None,
) -> None:
    index = make_index(kind="int8") if index is None else index
    toml = f"""
        [history.spaces.{name}]
        method = "{way.method}"
        temperature = {way.temperature}
        recency = {way.recency}
        max_events = {way.max_events}
    """
    config = make_config(cut, group_by_item=by_item, more=toml)
    weights = [[0.5 + 0.25 * (row % 3) for row in history] for history in HISTORIES]
    cases = cases_of(HISTORIES, weights, config)
    assert cut == "item" or any(end - start > 1 for own in cases.blocks(9) for start, end in own)
    found = space_scores(index, name, cases, components).scores(way)
    embedder, interaction = make_embedder(config, encoder or CountingEncoder(), index), LateInteraction(index, config)
    for history, own, at, scores in zip(HISTORIES, weights, cases.timestamps.tolist(), found, strict=True):
        nothing = (name == "collaborative" and history == [11]) or (name == "trend" and at < MOMENTS[1])
        if nothing:  # no events of the item, none before the moment: no segment, and a server refuses
            assert not scores.any()
            continue
        items = [ITEMS[row].encode() for row in history]
        context = UserContext(items, timestamps=times_of(history), weights=own, timestamp=at)
        [user] = embedder.embed([context]).segments
        served = interaction.scores(user)
        np.testing.assert_allclose(scores, served, rtol=2e-3, atol=2e-3 * np.abs(served).max())


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
        first = told(WAYS[0])
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


def test_without_times_a_case_is_of_the_newest_moment_as_a_request_is() -> None:
    space, way = make_index().spaces["trend"], Way("sum", 1.0, 1.0, 6)
    cases = replace(cases_of([[1, 2]], [[1.0, 1.0]]), timestamps=None)
    now = replace(cases, timestamps=np.array([MOMENTS[-1]]))
    found, expected = (SpaceScores.of_items(space, own, 6).scores(way) for own in (cases, now))
    np.testing.assert_array_equal(found, expected)
    assert found.any()


# The whole


def write_log(path: Path, log: Events, times: bool = True) -> Path:
    head = "user_id,item_id" + (",timestamp" if times else "")
    lines = [
        f"{log.users[user]},{CATALOGUE[item][0]}" + (f",{time}" if times else "")
        for user, item, time in zip(log.user, log.item, log.timestamp, strict=True)
    ]
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return path


def chains(users: int, seed: int = 0) -> Events:
    """Everybody goes on to the next item of the catalogue, from somewhere, with a detour now and then."""
    rng = np.random.default_rng(seed)
    histories = []
    for _ in range(users):
        start = int(rng.integers(len(CATALOGUE)))
        rows = [(start + step) % len(CATALOGUE) for step in range(7)]
        rows[int(rng.integers(5))] = int(rng.integers(len(CATALOGUE)))
        histories.append(list(zip(dict.fromkeys(rows), itertools.count(1), strict=False)))
    return log_of(histories)


def fitted(root: Path, bert: Path, log: Events, times: bool = True, **more: object) -> tuple[Path, str]:
    root.mkdir(parents=True, exist_ok=True)
    return run_export(make_options(root, bert, events=write_log(root / "log.csv", log, times), fit=True, **more))


def test_planted_transitions_are_found_written_and_served(bert: Path, tmp_path: Path) -> None:
    artifact, output = fitted(tmp_path, bert, chains(150))
    record = load_manifest(artifact, []).provenance["fit"]
    assert record["fitted"]
    assert record["users"] == 150
    assert record["steps"][-1]["gain"] > 3 * record["steps"][-1]["standard_error"]
    index = load_index(Layout(artifact).index)
    config = open_segments(artifact, index)
    assert config.history.spaces["transitions"].weight > 0
    assert index.spaces["transitions"].queries is not None
    assert set(index.spaces) == {"text", *config.history.spaces}
    assert "fitted against as configured" in str(record["steps"])
    assert "fit: spaces, weights, aggregation: done" in output
    again, output = fitted(tmp_path, bert, chains(150))
    assert again == artifact
    assert "fit: spaces, weights, aggregation: kept from before" in output


def seasons(users: int, seed: int = 0) -> Events:
    """Three of ten items are met at a time, the next three soon after; what a user met before says nothing."""
    rng = np.random.default_rng(seed)
    histories = []
    for _ in range(users):
        times = np.sort(rng.choice(np.arange(10, 1_000), 6, replace=False))
        rows = [int((time // 100 * 3 + rng.integers(3)) % len(CATALOGUE)) for time in times]
        histories.append(list({row: (row, int(time)) for row, time in zip(rows, times, strict=True)}.values()))
    return log_of(histories)


def test_planted_seasons_are_found(bert: Path, tmp_path: Path) -> None:
    artifact, _ = fitted(tmp_path, bert, seasons(400))
    index = load_index(Layout(artifact).index)
    config = open_segments(artifact, index)
    assert config.history.spaces["trend"].weight > 0
    assert index.spaces["trend"].moments is not None
    assert load_manifest(artifact, []).provenance["fit"]["steps"][-1]["gain"] > 0.05


def topics(folder: Path, noise: float = 0.0) -> tuple[Texts, Events]:
    """Everybody keeps to a topic, which one token of an item's text names; the others are rarer and say nothing.

    Hardly an item is met twice, so that only texts know what is alike. ``noise``: how much vectors differ in one
    direction, whatever the token.
    """
    rng, users, n_topics, n_items, dim = np.random.default_rng(0), 200, 60, 720, 16
    vocabulary = n_topics + n_items
    of_token = rng.normal(size=(vocabulary, dim))
    fillers = rng.permutation(np.repeat(np.arange(n_topics, vocabulary), 2)).reshape(n_items, 2)
    items = [[item % n_topics, *own] for item, own in enumerate(fillers.tolist())]
    vectors = of_token[np.concatenate(items)]
    vectors[:, 0] += noise * rng.normal(size=len(vectors))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.save(folder / "vectors.npy", vectors.astype(np.float16))
    histories = []
    for user in range(users):
        own = rng.choice(np.arange(user % n_topics, n_items, n_topics), 4, replace=False)
        histories.append([(int(item), time) for time, item in enumerate(own, 1)])
    return Texts(items, vocabulary, dim, [folder / "vectors.npy"], TEMPLATE, CountingEncoder()), log_of(histories)


def fit_texts(folder: Path, texts: Texts, log: Events, segments: str = "") -> Fitted:
    options = ExportOptions(catalog=folder, store=folder, work=folder / "work", collaborative_dim=16)
    config, steps = parse_segments(segments), Steps(options.work, Console(quiet=True))
    step = FitStep(options, steps, config, segments, texts, [f"i{row}" for row in range(len(texts.items))])
    return step.fit(log)


def steps_taken(found: Fitted, what: str) -> list[str]:
    return [step["step"] for step in found.record["steps"] if step["taken"] and step["step"].startswith(what)]


@pytest.mark.parametrize("begun", ["idf", "relevance"])
def test_what_tokens_weigh_is_learned_and_written(tmp_path: Path, begun: str) -> None:
    """Of items that few have met, texts say the most, and of these the tokens that neighbours share."""
    texts, log = topics(tmp_path)
    segments = f'[items]\ntoken_weights = "{begun}"\nvectors = "int16"\n'
    found = fit_texts(tmp_path, texts, log, segments)
    assert found.config.items == replace(ItemsConfig(), token_weights="relevance", vectors="int16")
    assert bool(steps_taken(found, "text among others: token weights relevance")) == (begun == "idf")


def test_a_projection_is_learned_and_written(tmp_path: Path) -> None:
    texts, log = topics(tmp_path, noise=3.0)
    found = fit_texts(tmp_path, texts, log)
    assert found.config.items == ItemsConfig(token_weights="relevance", projection="relevant_components")
    assert steps_taken(found, "text among others: token weights relevance, projection relevant_components")
    assert 'projection = "relevant_components"' in found.text


@pytest.mark.parametrize("begun", ["", "view = 0.7\nsale = 3.0\n"])
def test_what_kinds_of_events_weigh_is_learned_and_written(tmp_path: Path, begun: str) -> None:
    """What is bought is of the user's topic, what is viewed in between of any."""
    texts, log = topics(tmp_path)
    rng = np.random.default_rng(1)
    histories = [
        [(int(item), time) for time, item in enumerate(np.stack([own, rng.integers(720, size=4)], axis=1).ravel()[:-1])]
        for own in log.histories()
    ]
    viewed = log_of(histories)
    place = np.arange(len(viewed)) - viewed.offsets[viewed.user]
    viewed = replace(viewed, kind=(1 - place % 2).astype(np.int32))
    found = fit_texts(tmp_path, texts, viewed, f"[history.kinds]\n{begun}" if begun else "")
    assert steps_taken(found, "events of the kind 'view'")
    kinds = found.config.history.kinds
    assert kinds["view"] < 0.6
    assert {kind: weight for kind, weight in kinds.items() if kind != "view"} == ({"sale": 3.0} if begun else {})


def test_the_same_log_and_seed_fit_alike(bert: Path, tmp_path: Path) -> None:
    first, again = (fitted(tmp_path / name, bert, chains(120))[0] for name in ("first", "again"))
    assert Layout(first).segments.read_text() == Layout(again).segments.read_text()
    assert first.name == again.name


def test_a_log_without_timestamps_has_a_prior_of_all_times_alone(bert: Path, tmp_path: Path) -> None:
    artifact, output = fitted(tmp_path, bert, chains(120), times=False)
    assert load_manifest(artifact, []).provenance["fit"]["fitted"]
    assert "half_life" not in Layout(artifact).segments.read_text()
    assert "transitions" in output


def test_an_encoder_that_cannot_be_served_is_told_before_anything_is_fitted(bert: Path, tmp_path: Path) -> None:
    strict = TOLERANCES | {"fp32": replace(TOLERANCES["fp32"], max_error=-1.0)}
    with pytest.raises(MaxErrorError):
        fitted(tmp_path, bert, chains(60), tolerances=strict)
    work = tmp_path / "artifacts" / ".work"
    assert list(work.glob("parity-*"))
    assert not list(work.glob("fit-*"))


def test_with_few_users_the_configuration_stays_as_it_is(bert: Path, tmp_path: Path) -> None:
    artifact, output = fitted(tmp_path, bert, chains(30))
    assert "30 users to predict for, at least 50 are needed: left as configured" in output
    assert parse_segments(Layout(artifact).segments.read_text()) == SegmentsConfig()
    assert not load_manifest(artifact, []).provenance["fit"]["fitted"]


def test_what_is_held_out_for_an_evaluation_is_not_seen(bert: Path, tmp_path: Path) -> None:
    """Whichever items are users' last new ones, the fit is the same."""
    log = chains(120)
    others = log.item.copy()
    for history, end in zip(log.histories(), log.offsets[1:], strict=True):
        others[end - 1] = next(item for item in range(len(CATALOGUE)) if item not in history)
    fits = [
        fitted(tmp_path / name, bert, replace(log, item=item), hold_out=PLAIN)[0]
        for name, item in {"one": log.item, "other": others}.items()
    ]
    assert Layout(fits[0]).segments.read_text() == Layout(fits[1]).segments.read_text()


def test_fitting_needs_events_and_of_sessions_their_times(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tesserank fit needs --events"):
        make_options(tmp_path, bert, fit=True)
    segments = tmp_path / "sessions.toml"
    segments.write_text('[history]\ncut = "session"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r'cut = "session" needs timestamps, which this log lacks: cut by "item"'):
        fitted(tmp_path, bert, chains(60), times=False, segments=segments)


@pytest.mark.parametrize("cut", ["session", "content"])
def test_planted_transitions_are_found_between_longer_segments(bert: Path, tmp_path: Path, cut: str) -> None:
    segments = tmp_path / "long.toml"
    segments.write_text(f'[history]\ncut = "{cut}"\nsession_gap_s = 1\nmax_items = 3\n', encoding="utf-8")
    artifact, _ = fitted(tmp_path, bert, chains(150), segments=segments)
    record = load_manifest(artifact, []).provenance["fit"]
    assert record["steps"][-1]["gain"] > 3 * record["steps"][-1]["standard_error"]
    history = open_segments(artifact, load_index(Layout(artifact).index)).history
    assert history.spaces["transitions"].weight > 0
    assert (history.cut, history.max_items) == (cut, 3)


def test_the_command_prints_the_table_and_writes_the_segments_file(
    bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog, log = write_items(tmp_path / "items.jsonl"), write_log(tmp_path / "log.csv", chains(120))
    places = ["--artifacts", str(tmp_path / "artifacts"), "--model-repository", str(tmp_path / "repository")]
    small = ["--model", str(bert), "--dim", "16", "--tolerance", "index.top10_agreement=0.9"]
    out, runs = tmp_path / "deep" / "fitted.toml", tmp_path / "runs"
    more = ["--out", str(out), "--track", f"tensorboard:{runs}"]
    assert main(["fit", "--catalog", str(catalog), "--events", str(log), *places, *small, *more]) == 0
    config = parse_segments(out.read_text(encoding="utf-8"))
    assert config.history.spaces != SegmentsConfig().history.spaces
    printed = capsys.readouterr().out
    assert "next items of 120 users, plain protocol" in printed
    assert "| fitted against as configured |" in printed
    assert (tmp_path / "repository" / "recommend" / "config.pbtxt").is_file()
    [run] = runs.iterdir()
    tracked = read_run(run)
    manifest = load_manifest(current_artifact(tmp_path / "artifacts" / "default"), ())
    steps = manifest.provenance["fit"]["steps"]
    assert len(steps) > 5
    assert [round(value, 6) for value in tracked.scalars["fit/ndcg_at_10"].values()] == [
        step["ndcg_at_10"] for step in steps
    ]
    assert list(tracked.scalars["fit/taken"].values()) == [step["taken"] for step in steps]
    assert f"| artifact | {manifest.artifact_id} |" in tracked.texts["params"]
    assert tracked.texts["fit/steps"].count("\n| ") == len(steps)
