"""The case study: its world, its steps against plain formulas, and its arithmetic."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tesserank import cli
from tesserank.errors import ConfigError
from tesserank.paths import CHECKOUT
from tesserank.serving.interaction import LateInteraction
from tesserank.serving.request import UserContext
from tesserank_bench.case_study import embeddings
from tesserank_bench.case_study.command import FIRST_BATCH, NOW, PROPOSED, CaseStudy, as_now
from tesserank_bench.case_study.features import make_features
from tesserank_bench.case_study.pairs import ROWS, sample_pairs, time_pairs
from tesserank_bench.case_study.plan import Plan
from tesserank_bench.case_study.quality import Quality
from tesserank_bench.case_study.segments import STEPS, SegmentRanking
from tesserank_bench.case_study.world import World, make_world, write_catalogue, write_events
from tesserank_export.catalog import read_catalog
from tesserank_export.events import read_events
from tests.core.world import ITEMS, TEMPLATE, CountingEncoder, make_config, make_embedder, make_index, tokenize

PLAN = Plan(users=30, items=800, dim=8, batches=4, timed_pairs=8)


@pytest.fixture(scope="module")
def study() -> CaseStudy:
    return CaseStudy(PLAN, 0, lambda what: None)


@pytest.fixture(scope="module")
def world(study: CaseStudy) -> World:
    return study.world


def test_items_differ_and_are_about_what_their_taste_says(world: World) -> None:
    assert len(set(world.texts)) == len(set(world.item_ids)) == PLAN.items
    for taste in np.unique(world.taste_of):
        things = {world.texts[row].split(", ")[0] for row in np.flatnonzero(world.taste_of == taste)}
        last = {thing.split()[-1] for thing in things}
        assert len(last) == 1, "the same thing, of several brands"
    every = make_world(1, 104_832, seed=1)
    assert len(set(every.texts)) == 104_832


def test_more_items_than_there_are_words_for_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"--items must be at most 104,832, .* not 104,833"):
        make_world(1, 104_833, seed=0)


def test_users_meet_what_is_to_their_taste_in_the_order_of_time(world: World) -> None:
    mine = [world.taste_of[i] in world.tastes[u] for u, i in zip(world.user, world.item, strict=True)]
    assert 0.8 < np.mean(mine) < 0.96
    assert all(1 <= len(tastes) <= 3 for tastes in world.tastes)
    same = np.diff(world.user) == 0
    assert (np.diff(world.timestamp)[same] > 0).all()
    assert (np.diff(world.user) >= 0).all()


def test_the_same_seed_makes_the_same_files(world: World, study: CaseStudy, tmp_path: Path) -> None:
    again = make_world(PLAN.users, PLAN.items, seed=0)
    for number, made in enumerate((world, again)):
        write_catalogue(made, tmp_path / f"{number}.jsonl.gz")
        write_events(made, np.arange(len(made.user)), tmp_path / f"{number}.csv.gz")
    for end in ("jsonl.gz", "csv.gz"):
        assert (tmp_path / f"0.{end}").read_bytes() == (tmp_path / f"1.{end}").read_bytes()
    catalog = read_catalog(tmp_path / "0.jsonl.gz")
    assert list(catalog.texts) == list(world.texts)
    log = read_events(tmp_path / "0.csv.gz", catalog, unknown="reject")
    np.testing.assert_array_equal(log.item, study.events.item)
    np.testing.assert_array_equal(log.timestamp, study.events.timestamp)


def test_features_are_counts_tf_idf_and_cosines(study: CaseStudy) -> None:
    train = study.held.train
    features, made = make_features(train, PLAN.items)
    counts = np.zeros((len(train.users), PLAN.items))
    np.add.at(counts, (train.user, train.item), 1)
    np.testing.assert_array_equal(features.counts.toarray(), counts)
    # scikit-learn's smooth idf: ln((1 + n) / (1 + df)) + 1, rows of unit length
    weighted = counts * (np.log((1 + len(counts)) / (1 + (counts > 0).sum(axis=0))) + 1)
    weighted /= np.linalg.norm(weighted, axis=1, keepdims=True)
    np.testing.assert_allclose(features.tfidf.toarray(), weighted, atol=1e-6)
    cosine = weighted @ weighted.T
    np.fill_diagonal(cosine, 0)
    np.testing.assert_allclose(features.cosine.toarray(), cosine, atol=1e-6)
    users = study.held.users[:5]
    np.testing.assert_allclose(features.by_neighbours(users), cosine[users] @ weighted, atol=1e-6)
    np.testing.assert_array_equal(features.popularity(users)[0], (counts > 0).sum(axis=0))
    assert [entry["name"] for entry in made] == ["counts", "tf-idf", "cosine of users"]
    assert made[0]["non_zero"] == np.count_nonzero(counts)
    assert made[0]["density"] == pytest.approx(np.count_nonzero(counts) / counts.size, rel=1e-2)


def test_each_embedding_has_its_size_and_scores_by_the_last_items(study: CaseStudy) -> None:
    vectors, made = embeddings.make_embeddings(study.held, PLAN.items, PLAN.dim, seed=0)
    assert [entry["method"] for entry in made] == list(vectors) == list(embeddings.NAMES)
    for entry, own in zip(made, vectors.values(), strict=True):
        assert own.shape == (PLAN.items, PLAN.dim)
        assert entry["items"] == np.count_nonzero(np.linalg.norm(own, axis=1) > 0) > 0
        scores = embeddings.scores(own, study.held.histories[:2])
        expected = sum(own[item] @ own.T for item in study.held.histories[1][-10:])
        np.testing.assert_allclose(scores[1], expected, atol=1e-5)


def test_segment_scores_are_summed_and_every_step_is_timed_by_batch() -> None:
    config, index = make_config("session", "sum", group_by_item=False), make_index()
    ranking = SegmentRanking(index, config, TEMPLATE, tokenize, CountingEncoder(), threads=2)
    contexts = [UserContext([b"i1", b"i2", b"i3"], [0, 1, 50]), UserContext([b"i4", b"i5"], [0, 1])]
    ranking.warm_up(contexts[0])
    ranked = [*ranking.rank(contexts), *ranking.rank(contexts[:1])]
    embedder = make_embedder(config, CountingEncoder(), index)
    interaction = LateInteraction(index, config)
    for (scores, order), user in zip(ranked, embedder.embed([*contexts, contexts[0]]).segments, strict=True):
        y = interaction.segment_scores(user)
        scales = [config.channels()[c].weight * index.spaces[config.channels()[c].space].scale for c in user.channels]
        np.testing.assert_allclose(scores["all"], y @ (np.array(scales) * user.weights), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(scores["text"] + scores["collaborative"], scores["all"], rtol=1e-5, atol=1e-5)
        assert (np.diff(scores["all"][order]) <= 0).all()
        assert sorted(order) == list(range(len(ITEMS)))
    result = ranking.result()
    assert (result["batches"], result["segments"]) == (2, 4 + 2 + 4)
    assert [step["name"] for step in result["steps"]] == list(STEPS)
    assert all(len(step["seconds_of_batches"]) == 2 for step in result["steps"])
    assert result["encoded_segments"] == 1, "the warm-up's are cached, and cost nothing again"


def test_quality_counts_the_hidden_item_and_what_is_to_taste(study: CaseStudy) -> None:
    held, world = study.held, study.world
    tastes = [world.tastes[user] for user in held.users]
    best = np.zeros((3, PLAN.items), dtype=np.float32)
    best[range(3), held.targets[2:5]] = 1
    for row in range(3):
        best[row, held.histories[2 + row]] = 9  # what was met takes no part
    quality = Quality(held, world.taste_of, tastes)
    quality.add(best, 2)
    assert (quality.result()["ndcg_at_10"], quality.result()["recall_at_10"]) == (1, 1)
    mine = np.array([[taste in tastes[row] for taste in world.taste_of] for row in range(4)], dtype=np.float32)
    new = [int(row.sum() - row[history].sum()) for row, history in zip(mine, held.histories[:4], strict=True)]
    for scores, share in ((mine, np.mean([min(count, 10) / 10 for count in new])), (-mine, 0)):
        quality = Quality(held, world.taste_of, tastes)
        quality.add(scores, 0)
        assert quality.result()["to_taste_at_10"] == pytest.approx(share)
        assert quality.result()["users"] == 4


def test_every_ranked_user_is_in_one_batch_and_asks_by_what_was_not_hidden(study: CaseStudy) -> None:
    batches = study._batches()
    assert len(batches) == PLAN.batches
    assert [position for batch in batches for position in range(batch.start, batch.stop)] == list(
        range(len(study.held.users))
    )
    for context, target, history in zip(study.contexts(), study.held.targets, study.held.histories, strict=True):
        ids = [item_id.decode() for item_id in context.item_ids]
        assert study.world.item_ids[target] not in ids
        assert set(ids) == {study.world.item_ids[item] for item in history}


def test_pairs_are_extrapolated_linearly_and_share_a_history_a_pass() -> None:
    calls: list[tuple[str, int]] = []

    def score(history: str, items: Sequence[str]) -> NDArray[Any]:
        calls.append((history, len(items)))
        return np.zeros(len(items))

    pairs = sample_pairs(["h1", "h2", "h3"], ["a", "b"], 2 * ROWS + 5, seed=0)
    assert len(pairs) == 2 * ROWS + 5
    result = time_pairs(score, pairs, all_pairs=10_000)
    assert [count for _, count in calls] == [ROWS, ROWS, ROWS, 5], "the first one warms up"
    assert sum(result["seconds_of_passes"]) == pytest.approx(result["seconds"], abs=1e-3)
    assert result["milliseconds_a_pair"] == pytest.approx(1e3 * result["seconds"] / len(pairs), abs=2e-3)
    assert result["extrapolated"] is True


def test_as_now_changes_weights_and_aggregation_alone() -> None:
    proposed = make_config("session", "sum", group_by_item=False)
    now = as_now(proposed)
    assert (now.aggregation.method, now.aggregation.group_by_item) == ("softmax", True)
    assert (now.history.cut, now.history.max_events) == (proposed.history.cut, proposed.history.max_events)
    assert now.texts == proposed.texts


def test_a_small_study_runs_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--users", "40", "--items", "600", "--batches", "3", "--dim", "16", "--timed-pairs", "4"]
    # Beside the other tests' exports, so that steps of earlier runs are reused.
    work = ["--work", str(CHECKOUT / "build" / "test-artifacts" / "case-study"), "--out", str(tmp_path / "r.json")]
    assert cli.main(["bench", "case-study", *sizes, *work]) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert (result["world"]["users"], result["world"]["items"], result["world"]["dim"]) == (40, 600, 16)
    assert result["segments"]["batches"] == 3
    assert result["pairs"]["all_pairs"] == 40 * 600
    assert result["pairs"]["timed_pairs"] == 4
    spent = sum(step["seconds"] for step in result["segments"]["steps"])
    assert result["ratio"]["segments_seconds"] == pytest.approx(spent, abs=1e-3)
    quality = result["quality"]
    # 600 items are six a taste, and most of a user's are in the history: the hidden item says more than tastes do.
    for name in (PROPOSED, "segments, text space alone"):
        assert quality[name]["ndcg_at_10"] > 2 * quality["popularity"]["ndcg_at_10"]
        assert quality[name]["to_taste_at_10"] > 2 * quality["popularity"]["to_taste_at_10"]
    of_a_batch = {FIRST_BATCH, NOW}
    assert all(quality[name]["users"] == result["world"]["ranked_users"] for name in quality if name not in of_a_batch)
    assert quality[FIRST_BATCH]["users"] == quality[NOW]["users"] == result["world"]["ranked_users"] // 3
    shown = " ".join(capsys.readouterr().out.split())
    assert "pairs, extrapolated" in shown
