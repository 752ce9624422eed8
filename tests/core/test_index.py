"""The item index in memory and on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tesserank.errors import ArtifactError
from tesserank.index import Categories, ItemIndex, Space, load_index, save_index
from tesserank.index.categories import UnknownCategoryError
from tesserank.index.storage import FORMAT
from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.vectors import KINDS, quantise
from tests.core.world import ITEMS, TEXTLESS, make_index


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_index(make_index(), tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_comes_back_from_disk_as_it_was(kind: str, tmp_path: Path) -> None:
    before = make_index(kind=kind)
    save_index(before, tmp_path)
    after = load_index(tmp_path)
    assert (after.index_id, after.encoder_id, after.item_ids) == (before.index_id, before.encoder_id, before.item_ids)
    assert set(after.spaces) == set(before.spaces)
    for name, space in before.spaces.items():
        assert (after.spaces[name].scale, after.spaces[name].dim) == (space.scale, space.dim)
        assert after.spaces[name].items.kind == kind
        for part, array in space.items.arrays().items():
            np.testing.assert_array_equal(after.spaces[name].items.arrays()[part], array, strict=True)
        np.testing.assert_array_equal(after.spaces[name].items.offsets, space.items.offsets, strict=True)
        np.testing.assert_allclose(after.spaces[name].weights, space.weights, rtol=2**-11)  # float16 on disk
        if space.queries is None:
            assert after.spaces[name].queries is None
        else:
            queries = after.spaces[name].queries
            assert queries is not None
            np.testing.assert_array_equal(queries.decode().vectors, space.queries.decode().vectors, strict=True)
        np.testing.assert_array_equal(after.spaces[name].moments, space.moments)  # both may be None
    np.testing.assert_array_equal(after.tokens.vectors, before.tokens.vectors, strict=True)
    np.testing.assert_array_equal(after.tokens.offsets, before.tokens.offsets, strict=True)
    np.testing.assert_array_equal(after.token_weights, before.token_weights)
    assert before.categories is not None
    assert after.categories is not None
    assert after.categories.names == before.categories.names == ("book", "toy")
    np.testing.assert_array_equal(after.categories.codes, before.categories.codes, strict=True)


def test_an_index_without_categories_comes_back_without(tmp_path: Path) -> None:
    save_index(replace(make_index(), categories=None), tmp_path)
    assert load_index(tmp_path).categories is None


def test_ids_survive_the_disk_whatever_their_characters(tmp_path: Path) -> None:
    ids = ("ключ", 'a"b', "tab\t", *ITEMS[3:])
    save_index(replace(make_index(), item_ids=ids), tmp_path)
    assert load_index(tmp_path).rows(["ключ".encode(), b'a"b', b"tab\t"]).tolist() == [0, 1, 2]


def test_unknown_ids_have_row_minus_1() -> None:
    assert make_index().rows([b"i3", b"nobody", b"\xff", b"i0"]).tolist() == [3, -1, -1, 0]
    assert make_index().rows([]).tolist() == []


def test_token_ids_of_an_item_without_text_are_empty() -> None:
    index = make_index()
    assert index.token_ids(ITEMS.index(TEXTLESS)).tolist() == []
    assert len(index.token_ids(0)) == index.tokens.lengths[0]


def test_the_widest_space_sets_the_dimensions() -> None:
    assert make_index().dim == 8


def test_an_item_without_vectors_is_an_error() -> None:
    items = quantise("int8", Ragged(np.zeros((2, 3)), np.array([0, 1, 1, 2])))
    with pytest.raises(ArtifactError, match="item 1 has no vector in space 'text'"):
        Space("text", items, np.ones(2, dtype=np.float32), 1.0)


def test_weights_that_do_not_match_the_vectors_are_an_error() -> None:
    text = make_index().spaces["text"]
    with pytest.raises(ArtifactError, match=f"{len(text.weights) - 1} weights but {len(text.weights)} vectors"):
        replace(text, weights=text.weights[1:])


def test_vectors_for_segments_that_do_not_match_those_for_items_are_an_error() -> None:
    space = make_index().spaces["transitions"]
    assert space.queries is not None
    with pytest.raises(ArtifactError, match=r"11 vectors of 4 dimensions for segments, but 12 of 4 for items"):
        replace(space, queries=space.queries.take(np.arange(11)))
    narrow = quantise("float16", Ragged.of([np.ones((1, 3))] * 12))
    with pytest.raises(ArtifactError, match=r"12 vectors of 3 dimensions for segments, but 12 of 4 for items"):
        replace(space, queries=narrow)


@pytest.mark.parametrize(
    ("moments", "message"),
    [([100, 200], "2 moments, but 3 vectors"), ([], "0 moments"), ([100, 300, 200], "moment 200 follows 300")],
)
def test_moments_that_do_not_match_their_vectors_are_an_error(moments: list[int], message: str) -> None:
    space = make_index().spaces["trend"]
    with pytest.raises(ArtifactError, match=f"{message}.* in space 'trend'.* rebuild the index"):
        replace(space, moments=np.array(moments, dtype=np.int64))


@pytest.mark.parametrize(
    ("shape", "message"), [((1, 3), "3 vectors of them, of 3 dimensions where items have 4"), ((2, 4), "6 vectors")]
)
def test_a_moment_has_one_vector_of_the_items_dimensions(shape: tuple[int, int], message: str) -> None:
    queries = quantise("float16", Ragged.of([np.ones(shape)] * 3))
    with pytest.raises(ArtifactError, match=f"3 moments, but {message}"):
        replace(make_index().spaces["trend"], queries=queries)


def test_a_time_belongs_to_the_last_moment_before_it() -> None:
    space = make_index().spaces["trend"]
    assert [space.moment(at) for at in (-5, 100, 199, 200, 299, 300, 10**12)] == [0, 0, 0, 1, 1, 2, 2]
    assert space.moment(None) == 2


def test_ids_that_do_not_match_the_rows_are_an_error() -> None:
    index = make_index()
    with pytest.raises(ArtifactError, match="11 item ids but 12 rows of vectors in space 'text' of index index-1"):
        replace(index, item_ids=ITEMS[1:])
    with pytest.raises(ArtifactError, match="12 item ids but 11 rows of tokens of index index-1"):
        replace(index, tokens=index.tokens.take(np.arange(11)))
    with pytest.raises(ArtifactError, match="12 item ids but 2 categories of index index-1"):
        replace(index, categories=Categories.of(["toy", None]))


def test_an_id_that_comes_twice_is_an_error() -> None:
    with pytest.raises(ArtifactError, match="item id 'i4' twice"):
        replace(make_index(), item_ids=("i4", *ITEMS[1:]))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def save_offsets(offsets: list[int], path: Path) -> None:
    np.save(path, np.array(offsets, dtype=np.int64))


def rewrite(directory: Path, key: str, value: Any) -> None:
    """Change what ``index.json`` says; None takes the key out."""
    meta = json.loads((directory / "index.json").read_text())
    meta[key] = value
    (directory / "index.json").write_text(json.dumps({k: v for k, v in meta.items() if k != key or value is not None}))


DAMAGE = {
    "a missing matrix": (lambda d: (d / "text" / "vectors.npy").unlink(), "vectors.npy cannot be read"),
    "a truncated matrix": (lambda d: truncate(d / "text" / "vectors.npy"), "vectors.npy cannot be read"),
    "an empty matrix file": (lambda d: (d / "token_weights.npy").write_bytes(b""), "token_weights.npy cannot be read"),
    "a file that is no matrix": (
        lambda d: (d / "token_weights.npy").write_text("no matrix"),
        "token_weights.npy cannot be read",
    ),
    "offsets that stop short": (lambda d: save_offsets([0, 1], d / "text" / "offsets.npy"), "text is corrupt"),
    "offsets that decrease": (lambda d: save_offsets([0, 9, 3, 12], d / "collaborative" / "offsets.npy"), "decrease"),
    "too few ids": (lambda d: (d / "item_ids.json").write_text('["i0"]'), "1 item ids but 12 items in index index-1"),
    "ids that are no list": (lambda d: (d / "item_ids.json").write_text("7"), "is corrupt"),
    "no description": (lambda d: (d / "index.json").unlink(), r"index.json cannot be read \(No such file"),
    "an index of before": (
        lambda d: rewrite(d, "format", None),
        f"is an index of format 1, this version reads {FORMAT}",
    ),
    "an index of later": (
        lambda d: rewrite(d, "format", FORMAT + 1),
        f"is an index of format {FORMAT + 1}, this version reads {FORMAT}",
    ),
    "an unknown kind of vectors": (
        lambda d: rewrite(d, "spaces", {"text": {"vectors": "int3"}}),
        "holds vectors of kind 'int3', this version reads int8, int16, float16",
    ),
    "missing vectors for segments": (
        lambda d: (d / "transitions" / "queries" / "vectors.npy").unlink(),
        "vectors.npy cannot be read",
    ),
    "parts of another kind": (
        lambda d: rewrite(d, "spaces", {"text": {"vectors": "int8", "arrays": ["vectors"], "scale": 1.0}}),
        "text is corrupt",
    ),
    "missing moments": (lambda d: (d / "trend" / "queries" / "moments.npy").unlink(), "moments.npy cannot be read"),
    "fewer moments than vectors": (
        lambda d: np.save(d / "trend" / "queries" / "moments.npy", np.arange(2)),
        "2 moments, but 3 vectors of them",
    ),
    "categories beyond the names": (lambda d: rewrite(d, "categories", ["toy"]), "category codes from -1 to 1, but 1"),
    "missing categories": (lambda d: (d / "categories.npy").unlink(), "categories.npy cannot be read"),
    "a description that is no JSON": (lambda d: truncate(d / "index.json"), "index.json is corrupt"),
    "a description that lacks all": (
        lambda d: (d / "index.json").write_text(f'{{"format": {FORMAT}}}'),
        "index.json is corrupt",
    ),
    "a description that is a list": (lambda d: (d / "index.json").write_text("[]"), "index.json is corrupt"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_an_error_that_says_what_to_do(kind: str, saved: Path) -> None:
    damage, message = DAMAGE[kind]
    damage(saved)
    with pytest.raises(ArtifactError, match=message) as caught:
        load_index(saved)
    assert "make export" in str(caught.value)


def test_object_arrays_are_refused_since_unpickling_runs_code(saved: Path) -> None:
    np.save(saved / "token_weights.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ArtifactError, match=r"token_weights\.npy cannot be read"):
        load_index(saved)


def test_the_description_is_for_people_too(saved: Path) -> None:
    meta = json.loads((saved / "index.json").read_text())
    assert meta["items"] == 12
    assert meta["spaces"]["collaborative"] == {"vectors": "float16", "arrays": ["vectors"], "dim": 4, "scale": 0.5}
    assert meta["categories"] == ["book", "toy"]


def test_an_index_without_items_has_no_rows() -> None:
    index = make_index()
    empty = {
        name: replace(s, items=s.items.take(np.arange(0)), weights=s.weights[:0], queries=None, moments=None)
        for name, s in index.spaces.items()
    }
    none = ItemIndex("x", "y", (), empty, index.tokens.take(np.arange(0)), index.token_weights)
    assert len(none) == 0
    assert none.rows([b"i0"]).tolist() == [-1]


def test_a_category_allows_its_items_and_no_others() -> None:
    categories = Categories.of(["toy", None, "book", "", "toy", "żółw"])
    assert categories.names == ("book", "toy", "żółw")
    assert np.flatnonzero(categories.allowed([b"toy"])).tolist() == [0, 4]
    assert np.flatnonzero(categories.allowed([b"book", "żółw".encode(), b"book"])).tolist() == [2, 5]
    assert np.flatnonzero(categories.allowed([b"toy", b"book", "żółw".encode()])).tolist() == [0, 2, 4, 5]


def test_an_unknown_category_is_named_with_some_that_are_known() -> None:
    categories = Categories.of([f"c{number}" for number in range(9)])
    with pytest.raises(UnknownCategoryError, match=r"no item has 'toys': there are 9 \(c0, c1, c2, c3, c4, \.\.\.\)"):
        categories.allowed([b"c1", b"toys"])
    with pytest.raises(UnknownCategoryError, match=r"no item has '\\xff': there are 9"):
        categories.allowed([b"\xff"])
