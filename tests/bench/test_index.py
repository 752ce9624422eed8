"""The benchmark of stored vectors: its catalogues, its sizes, its measurement and its verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tesserank.errors import DataError
from tesserank.index import ItemIndex, save_index
from tesserank_bench.index.command import find_datasets
from tesserank_bench.index.material import Material
from tesserank_bench.index.measure import EXACT, measure
from tesserank_bench.index.plan import COMPACT, KINDS, Plan
from tesserank_bench.index.sizes import bytes_of, text_bytes
from tesserank_bench.index.verdicts import verdicts
from tesserank_bench.real_input import User
from tesserank_client import Event
from tests.core.world import ITEMS, TEMPLATE, make_config, make_index, tokenize

PLAN = Plan(users=4, candidates=(3, 100), rounds=2)


def make_material() -> Material:
    """Four users of a catalogue of twelve items, of whom each had three and then took another."""
    rng = np.random.default_rng(0)
    users: list[User] = []
    for number in range(PLAN.users):
        *had, target = (ITEMS[row] for row in rng.choice(len(ITEMS), 4, replace=False))
        users.append((f"u{number}", [Event(item, 100 + place) for place, item in enumerate(had)], target))

    def of(index: ItemIndex) -> Material:
        return Material(index, make_config(), TEMPLATE, tokenize, users, seed=0)

    return of(of(make_index(kind="float16")).stored("float16"))  # with the scales that an export would measure


@pytest.fixture(scope="module")
def entries() -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    measure(make_material(), PLAN, 0, lambda line: None, found)
    assert [entry["vectors"] for entry in found] == [EXACT, *KINDS]
    return {entry["vectors"]: entry for entry in found}


def test_what_is_stored_as_it_came_ranks_as_it_did_and_coarser_vectors_are_farther(entries: dict[str, Any]) -> None:
    assert entries["float16"]["agreement"] == {"histories": 1.0, "items": 1.0}
    assert entries["float16"]["ndcg_at_10"] == entries[EXACT]["ndcg_at_10"] > 0
    cosines = [entries[kind]["mean_cosine"] for kind in KINDS]
    assert cosines == sorted(cosines, reverse=True)
    assert 0.99 < entries[COMPACT]["mean_cosine"] < 1


def test_an_item_in_float32_takes_four_bytes_a_dimension_of_its_tokens(entries: dict[str, Any]) -> None:
    space = make_index().spaces["text"]
    assert entries[EXACT]["item_bytes"] == 4 * space.items.dim * space.items.lengths.mean()
    for kind in KINDS:
        share = entries[kind]["item_bytes"] / entries[EXACT]["item_bytes"]
        assert entries[kind]["share_of_float32"] == pytest.approx(share, abs=1e-3)


def test_every_kind_is_timed_on_the_same_candidates(entries: dict[str, Any]) -> None:
    for kind in KINDS:
        timed = entries[kind]["rank"]
        assert [entry["candidates"] for entry in timed] == [3, len(ITEMS)]
        assert all(len(entry["samples_ms"]) == PLAN.rounds for entry in timed)
    assert "rank" not in entries[EXACT]


def test_the_text_space_is_its_directory_the_token_ids_and_their_weights(tmp_path: Path) -> None:
    index = make_material().stored("int8")
    assert {name: space.items.kind for name, space in index.spaces.items()} == {
        "text": "int8",
        "collaborative": "int16",
        "transitions": "int16",
        "trend": "int16",
    }
    save_index(index, tmp_path)
    files = bytes_of(index)
    assert files == {
        str(path.relative_to(tmp_path)): path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()
    }
    left_out = {
        name: size for name, size in files.items() if name not in ("token_weights.npy",) and "text/" not in name
    }
    left_out = {name: size for name, size in left_out.items() if "tokens/" not in name}
    assert set(left_out) >= {"index.json", "collaborative/codes.npy", "categories.npy"}
    assert text_bytes(files) == sum(files.values()) - sum(left_out.values())


def test_a_catalogue_is_named_or_lies_beside_the_checkout(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither amazon_beauty nor mlsmall in .*: name folders .* with --data"):
        find_datasets(None, tmp_path)
    for name in ("mlsmall", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "items.jsonl.gz").touch()
    with pytest.raises(DataError, match=r"no events\.csv\.gz in .*other"):
        find_datasets([tmp_path / "other"], tmp_path)
    (tmp_path / "mlsmall" / "events.csv.gz").touch()
    assert [dataset.name for dataset in find_datasets(None, tmp_path)] == ["mlsmall"]


def test_targets_are_judged_on_compact_vectors_of_each_catalogue() -> None:
    compact = {"vectors": COMPACT, "share_of_float32": 0.1251, "agreement": {"histories": 0.98, "items": 0.97}}
    result = {"datasets": {"amazon_beauty": {"kinds": [compact]}, "other": {"kinds": []}}}
    judged = {verdict["name"]: verdict["verdict"] for verdict in verdicts(result)}
    assert judged == {
        "amazon_beauty, compact: bytes of an item / float32": "not met",
        "amazon_beauty, compact: top-10 agreement, users' histories": "met",
        "amazon_beauty, compact: top-10 agreement, single items": "not met",
    } | {
        f"{name}, compact: {figure}": "not measured"
        for name in ("mlsmall", "other")
        for figure in (
            "bytes of an item / float32",
            "top-10 agreement, users' histories",
            "top-10 agreement, single items",
        )
    }
