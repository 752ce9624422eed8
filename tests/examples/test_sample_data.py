"""The sample data: the same for everybody, unique, and with tastes that can be found again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from examples.sample_data import EXAMPLES, ITEMS_PER_TOPIC, SCENARIOS, USERS, SamplePaths, read_showcase, write_sample
from tesserank.segments.config import SegmentsConfig
from tesserank.segments.reader import load_segments
from tesserank_export.catalog import Catalog, read_catalog
from tesserank_export.collaborative import fit_collaborative
from tesserank_export.events import Events, read_events

ROOT = EXAMPLES.parent


@pytest.fixture(scope="module", params=SCENARIOS)
def scenario(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def sample(scenario: str, tmp_path_factory: pytest.TempPathFactory) -> SamplePaths:
    return write_sample(scenario, tmp_path_factory.mktemp(scenario), seed=0)


@pytest.fixture(scope="module")
def catalog(sample: SamplePaths) -> Catalog:
    return read_catalog(sample.items)


@pytest.fixture(scope="module")
def topics(sample: SamplePaths) -> list[str]:
    return list(read_catalog(sample.items, text_field="category").texts)


@pytest.fixture(scope="module")
def events(sample: SamplePaths, catalog: Catalog) -> Events:
    return read_events(sample.events, catalog, unknown="reject")


@pytest.fixture(scope="module")
def segments(scenario: str) -> SegmentsConfig:
    return load_segments(EXAMPLES / scenario / "segments.toml")


def bytes_of(paths: SamplePaths) -> list[bytes]:
    return [path.read_bytes() for path in (paths.items, paths.events, paths.showcase, paths.tastes)]


def test_equal_seeds_give_equal_bytes_in_another_process_too(
    scenario: str, sample: SamplePaths, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "examples.sample_data", "--scenario", scenario, "--out", str(tmp_path / "again")]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    again = SamplePaths.within(tmp_path / "again")
    assert printed == [str(again.items), str(again.events), str(again.showcase), str(again.tastes)]
    assert bytes_of(again) == bytes_of(sample)
    assert all(a != b for a, b in zip(bytes_of(sample), bytes_of(write_sample(scenario, tmp_path, 1)), strict=True))


def test_writing_again_replaces_the_files_and_leaves_nothing_beside_them(scenario: str, tmp_path: Path) -> None:
    first = bytes_of(write_sample(scenario, tmp_path, seed=0))
    write_sample(scenario, tmp_path, seed=1)
    assert bytes_of(write_sample(scenario, tmp_path, seed=0)) == first
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "events.csv.gz",
        "items.jsonl.gz",
        "showcase.json",
        "tastes.json",
    ]


def test_items_and_texts_are_unique(sample: SamplePaths, catalog: Catalog, topics: list[str]) -> None:
    titles = read_catalog(sample.items, text_field="title").texts
    assert set(Counter(topics).values()) == {ITEMS_PER_TOPIC}
    assert len(set(topics)) >= 12
    assert len(set(catalog.item_ids)) == len(set(catalog.texts)) == len(catalog) >= 600
    assert catalog.empty_texts == 0
    assert all(titles)
    assert not any("{" in text for text in catalog.texts)


def test_users_mostly_meet_items_of_one_to_three_topics(events: Events, topics: list[str]) -> None:
    assert len(events.users) == USERS
    shares = []
    for history in events.histories():
        top = Counter(topics[item] for item in history).most_common(3)
        shares.append(sum(count for _, count in top) / len(history))
    # One event in eight is noise; by luck alone the three largest of twelve topics would hold about half.
    assert np.mean(shares) > 0.85


def test_the_tastes_of_users_are_those_that_their_events_show(
    sample: SamplePaths, events: Events, topics: list[str]
) -> None:
    tastes = json.loads(sample.tastes.read_text())
    assert list(tastes) == list(events.users)
    shares = []
    for user, history in zip(events.users, events.histories(), strict=True):
        assert 1 <= len(tastes[user]) == len(set(tastes[user])) <= 3
        shares.append(np.mean([topics[item] in tastes[user] for item in history]))
    assert 0.85 < np.mean(shares) < 0.95  # all but the noise, one event in eight, of which few are of a taste by luck


def test_the_planted_tastes_are_found_again_from_the_log_alone(
    events: Events, catalog: Catalog, topics: list[str]
) -> None:
    space = fit_collaborative(events, len(catalog), dim=32)
    met = np.flatnonzero(space.vectors.any(axis=1))
    cosines = space.vectors[met] @ space.vectors[met].T - 2 * np.eye(len(met))
    topic = np.array(topics)[met]
    same = topic[cosines.argmax(axis=1)] == topic
    assert same.mean() > 0.5  # chance is about 1 in 12


def test_events_come_in_sessions_that_the_configuration_tells_apart(events: Events, segments: SegmentsConfig) -> None:
    gaps = np.diff(events.timestamp)[events.user[1:] == events.user[:-1]]
    assert (gaps > 0).all()
    within = gaps <= segments.history.session_gap_s
    assert 0.5 < within.mean() < 0.9
    assert gaps[within].max() <= 900
    assert gaps[~within].min() > 6 * 3600


def test_the_configuration_weighs_kinds_that_occur_and_names_the_texts_of_the_showcase_user(
    sample: SamplePaths, events: Events, segments: SegmentsConfig
) -> None:
    showcase = read_showcase(sample.showcase)
    assert set(segments.history.kinds) < set(events.kinds)
    assert set(showcase.texts) == set(segments.texts)
    assert all(showcase.texts.values())


def test_the_showcase_user_has_the_tastes_that_the_vocabulary_gives(
    sample: SamplePaths, catalog: Catalog, events: Events, topics: list[str]
) -> None:
    showcase = read_showcase(sample.showcase)
    assert showcase.user_id not in events.users
    assert len(showcase.item_ids) == len(showcase.timestamps) == len(showcase.kinds) >= 8
    assert showcase.timestamps == sorted(showcase.timestamps)
    assert set(showcase.kinds) <= set(events.kinds)
    assert set(showcase.tastes) < set(topics)
    met = [topics[catalog.row_of[item_id]] for item_id in showcase.item_ids]
    assert sum(topic in showcase.tastes for topic in met) / len(met) > 0.6
    assert set(showcase.tastes) <= set(met)


def test_an_unknown_scenario_names_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="scenario 'news': one of ecommerce, social, video is needed"):
        write_sample("news", tmp_path)


def test_the_scenarios_cover_all_three_ways_to_cut() -> None:
    cuts = [load_segments(EXAMPLES / scenario / "segments.toml").history.cut for scenario in SCENARIOS]
    assert cuts == ["item", "session", "content"]
