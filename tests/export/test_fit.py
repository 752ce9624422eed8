"""The fit from log to segments file: planted structure that it finds, and what it refuses."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tesserank.artifact.bundle import open_segments
from tesserank.artifact.layout import Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.artifact.store import current_artifact
from tesserank.cli import main
from tesserank.errors import ConfigError
from tesserank.index import load_index
from tesserank.segments.config import ItemsConfig, SegmentsConfig
from tesserank.segments.reader import parse_segments
from tesserank_export.events import Events
from tesserank_export.fit.steps import FitStep, Fitted
from tesserank_export.heldout import PLAIN
from tesserank_export.options import ExportOptions
from tesserank_export.parity import TOLERANCES, MaxErrorError
from tesserank_export.steps import Steps
from tesserank_export.text_space import Texts
from tests.core.tensorboard import read_run
from tests.core.world import TEMPLATE, CountingEncoder
from tests.evaluation.logs import log_of
from tests.export.tiny import ITEMS as CATALOGUE
from tests.export.tiny import make_options, run_export, write_items


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
