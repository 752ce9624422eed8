"""The benchmark of whole-catalogue search: its catalogue, its measurement, its verdicts and its picture."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import numpy as np
import pytest

from tesserank.index import ItemIndex
from tesserank.maxsim import jit
from tesserank.search.standins import StandIns
from tesserank.segments.reader import parse_segments
from tesserank.serving.request import RankingOptions
from tesserank_bench import plots
from tests.core.catalogue import ITEMS, history, make_catalogue, random_histories
from tests.core.world import unit_rows

if not jit.available():
    pytest.skip("numba or AVX2 is missing: nothing is pruned then", allow_module_level=True)

from tesserank_bench.catalogue import pictures
from tesserank_bench.catalogue.material import FULL_WINDOWS, TEXTS, Material, Query
from tesserank_bench.catalogue.measure import measure
from tesserank_bench.catalogue.plan import Plan
from tesserank_bench.catalogue.replicated import NOISE_ANGLE, NOISE_WORDS, replicated_texts, replicated_vectors
from tesserank_bench.catalogue.verdicts import verdicts

REAL = ["red nail file", "", "a gentle shampoo for dry hair", "soap"]


def test_the_first_are_the_originals_and_then_come_copies_of_them_in_turn() -> None:
    made = replicated_texts(REAL, 4 + 4 + 2, seed=0)
    assert made[:4] == REAL
    assert len(made) == 10
    assert made[5] == ""
    assert made[6] != made[2]
    words = {word for text in REAL for word in text.split()}
    for row, text in enumerate(made[4:], 4):
        assert set(text.split()) <= words
        own = REAL[row % 4].split()
        assert len(own) <= len(text.split()) <= len(own) + NOISE_WORDS * bool(own)


def test_a_copy_keeps_what_noise_leaves_of_its_original() -> None:
    original = " ".join(f"word{number}" for number in range(40))
    [_, made] = replicated_texts([original], 2, seed=3)
    missing = set(original.split()) - set(made.split())
    assert len(missing) <= NOISE_WORDS
    assert made != original


@pytest.mark.parametrize("count", [3, 4, 9])
def test_fewer_items_are_the_first_of_more(count: int) -> None:
    assert replicated_texts(REAL, count, seed=1) == replicated_texts(REAL, 12, seed=1)[:count]
    assert replicated_texts(REAL, 12, seed=1) != replicated_texts(REAL, 12, seed=2)


def test_copies_of_vectors_are_turned_by_the_angle() -> None:
    vectors = unit_rows(np.random.default_rng(0).standard_normal((5, 64)))
    vectors[2] = 0
    made = replicated_vectors(vectors, 13, seed=0)
    np.testing.assert_array_equal(made[:5], vectors)
    assert not made[[7, 12]].any()
    known = np.array([row for row in range(5, 13) if row % 5 != 2])
    np.testing.assert_allclose(np.linalg.norm(made[known], axis=1), 1, atol=1e-6)
    cosines = (made[known] * vectors[known % 5]).sum(axis=1)
    # The noise has a part along the vector too, of about angle / sqrt(64).
    np.testing.assert_allclose(cosines, 1 / np.hypot(1, NOISE_ANGLE), atol=0.05)
    np.testing.assert_array_equal(replicated_vectors(vectors, 9, seed=0), made[:9])


class SmallMaterial:
    """What measure() asks of a Material, of the tests' own catalogue."""

    index, _stand_ins = make_catalogue()
    config = parse_segments("[search]\ncandidates = 1000")

    def first(self, count: int) -> ItemIndex:
        assert count == ITEMS
        return self.index

    def stand_ins(self, index: ItemIndex) -> StandIns:
        return self._stand_ins

    def queries(self, kind: str, count: int) -> list[Any]:
        if kind not in (FULL_WINDOWS, TEXTS):
            return []
        spaces = ("text", "collaborative") if kind == FULL_WINDOWS else ("text",)
        return [
            Query(history(self.index, self.config, rows.tolist(), spaces), RankingOptions(top_k=20))
            for rows in random_histories(count, seed=0)
        ]


def test_every_search_is_timed_and_compared_with_the_exhaustive_one() -> None:
    result: dict[str, Any] = {}
    plan = Plan(items=(ITEMS, 10 * ITEMS), candidates=(100,), users=3)
    measure(cast(Material, SmallMaterial()), plan, 0, lambda line: None, result)
    keys = {(entry["kind"], entry["candidates"]) for entry in result["searches"]}
    assert keys == {(kind, candidates) for kind in (FULL_WINDOWS, TEXTS) for candidates in (None, 1000)}
    for entry in result["searches"]:
        assert entry["items"] == ITEMS
        assert entry["samples"] == len(entry["samples_ms"]) == 3
        assert entry["query_tokens"] > 1
        assert set(entry["stages_p50_ms"]) == {"propose", "maxsim", "aggregate"}
        assert ("recall" in entry) == (entry["candidates"] is not None)
        # 1,000 of 1,500 items are more than are worth pruning for: all of them are scored.
        assert entry.get("recall", {"at_10": 1, "at_100": 1}) == {"at_10": 1, "at_100": 1}


def make_result() -> dict[str, Any]:
    """What the command saves, with made-up figures: 30 times faster in 100,000 items."""
    searches = []
    for items, exhaustive, pruned in ((1_000, 3.0, 2.0), (10_000, 30.0, 4.0), (100_000, 300.0, 10.0)):
        entry = {"items": items, "kind": FULL_WINDOWS}
        searches.append(entry | {"candidates": None, "p50_ms": exhaustive})
        searches.append(entry | {"candidates": 1000, "p50_ms": pruned, "recall": {"at_10": 0.99, "at_100": 0.94}})
    return {
        "searches": searches,
        "setup": {"candidates": 1000, "dataset": "a dataset", "real_items": 12_101},
        "conditions": {"cores": 2, "cpu": "a processor"},
    }


def test_targets_are_judged_on_the_largest_catalogue() -> None:
    judged = {verdict["name"]: verdict for verdict in verdicts(make_result())}
    speed = judged["100,000 items, full histories: exhaustive / pruned p50"]
    assert (speed["value"], speed["verdict"]) == (30.0, "met")
    assert judged["100,000 items, full histories: recall@10"]["verdict"] == "met"
    assert judged["100,000 items, full histories: recall@100"]["verdict"] == "not met"
    assert judged["100,000 items, texts: recall@10"]["verdict"] == "not measured"


def test_the_picture_says_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plots._STYLE, "svg.fonttype", "none")  # texts as texts, to read them here
    [first], [second] = (pictures.draw(make_result(), tmp_path / name) for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    root = ElementTree.parse(first).getroot()
    text = " ".join(element.text or "" for element in root.iter() if element.tag.endswith("text"))
    for wanted in ("300 ms", "10.0 ms", "2 cores of a processor; a dataset", "1,000 items scored exactly"):
        assert wanted in text
    interrupted = copy.deepcopy(make_result())
    interrupted["searches"] = []
    assert pictures.draw(interrupted, tmp_path / "none") == []
