"""Pruned search at export time: stand-ins for vectors, recall, the record, and what is made again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tesserank.artifact.bundle import open_segments
from tesserank.artifact.layout import PARITY, PARTS, Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.errors import ArtifactError
from tesserank.index import Space, load_index
from tesserank.maxsim import jit
from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.vectors import Int8Vectors
from tesserank.search import open_proposer
from tesserank.search.centroids import CentroidVectors
from tesserank.search.fitting import fit_centroids, fit_pieces, fit_stand_in
from tesserank.search.pieces import CODES, PieceVectors
from tesserank.search.record import SearchRecord
from tesserank.search.standins import load_stand_ins
from tests.core.world import unit_rows
from tests.export.conftest import Exported
from tests.export.tiny import make_items, make_options, run_export, write_events, write_items

if not jit.available():
    pytest.skip("numba or AVX2 is missing: nothing is pruned then", allow_module_level=True)

ITEMS = 1200  # of which 400 are proposed: four for each of the 100 that recall is measured on
SEGMENTS = "[search]\nexhaustive_up_to = 1000\ncandidates = 100\n"


@pytest.fixture(scope="module")
def searched(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A larger tiny catalogue, exported for pruned search."""
    root = tmp_path_factory.mktemp("searched")
    write_items(root / "items.jsonl", make_items(ITEMS))
    return Exported(root, *export(root, bert, SEGMENTS))


def export(root: Path, bert: Path, segments: str) -> tuple[Path, str]:
    (root / "segments.toml").write_text(segments, encoding="utf-8")
    events = root / "events.csv" if (root / "events.csv").exists() else write_events(root / "events.csv")
    return run_export(make_options(root, bert, events=events, segments=root / "segments.toml"))


def test_the_artefact_has_what_a_server_searches_with(searched: Exported) -> None:
    manifest = load_manifest(searched.artifact, (*PARTS, PARITY))
    added = {name for name in manifest.files if "search" in name}
    assert added == {
        "index/search.json",
        "index/text/search/centroids.npy",
        "index/text/search/codes.npy",
        "index/collaborative/search/books.npy",
        "index/collaborative/search/codes.npy",
    }
    layout = Layout(searched.artifact)
    index = load_index(layout.index)
    assert open_proposer(layout.index, index, open_segments(searched.artifact, index), threads=2) is not None


def test_recall_is_measured_recorded_and_said(searched: Exported) -> None:
    record = SearchRecord.load(Layout(searched.artifact).index)
    assert record.index_id == load_index(Layout(searched.artifact).index).index_id
    assert record.candidates == 100
    assert list(record.recall) == ["histories", "texts"]
    for kind, recall in record.recall.items():
        # A third of the catalogue is proposed: chance finds a third of the answer.
        assert 0.9 <= recall.at_100 <= 1
        assert 0.9 <= recall.at_10 <= 1
        assert f"{kind}: {recall.at_10:.3f} of the exact top 10, {recall.at_100:.3f} of the exact" in searched.output
    assert record.recall["histories"].queries == 60  # all users of the log have two events and more
    assert f"{record.stand_ins['text']} of space text" in searched.output
    assert f"; {record.bytes:,} bytes" in searched.output


def test_every_token_has_its_nearest_centroid(searched: Exported) -> None:
    index = load_index(Layout(searched.artifact).index)
    own = load_stand_ins(Layout(searched.artifact).index, index)["text"]
    assert isinstance(own, CentroidVectors)
    vectors = index.spaces["text"].items.decode().vectors
    known = vectors.any(axis=1)
    similarities = vectors[known] @ own.centroids.T
    chosen = similarities[np.arange(known.sum()), own.codes[known]]
    np.testing.assert_allclose(chosen, similarities.max(axis=1), rtol=0, atol=1e-5)
    assert not own.centroids[own.codes[~known]].any()  # the item without text
    assert (~known).sum() == 1


def test_a_second_run_makes_nothing_again(searched: Exported, bert: Path) -> None:
    artifact, output = export(searched.root, bert, SEGMENTS)
    assert artifact == searched.artifact
    assert "..." not in output


def test_other_candidates_are_measured_without_fitting_again(searched: Exported, bert: Path) -> None:
    artifact, output = export(searched.root, bert, SEGMENTS.replace("100\n", "500\n"))
    assert "stand-ins for the vectors: kept from before" in output
    assert "recall of the exact answer: done" in output
    assert artifact != searched.artifact
    assert SearchRecord.load(Layout(artifact).index).candidates == 500


def test_a_recall_below_the_floor_is_said_and_stops_a_server(searched: Exported, bert: Path) -> None:
    artifact, output = export(searched.root, bert, SEGMENTS + "min_recall = 1.0\n")
    record = SearchRecord.load(Layout(artifact).index)
    assert record.lowest_recall < 1, "choose a catalogue in which pruning misses something"
    assert "a server will refuse to start: pruned search of index" in output
    index = load_index(Layout(artifact).index)
    with pytest.raises(ArtifactError, match=r"search\.min_recall is 1\.0"):
        open_proposer(Layout(artifact).index, index, open_segments(artifact, index), threads=1)


def test_an_exhaustive_export_adds_nothing(exported: Exported) -> None:
    assert "search: exhaustive (40 items)" in exported.output
    assert not [name for name in load_manifest(exported.artifact, PARTS).files if "search" in name]


def test_a_catalogue_without_events_is_measured_on_random_histories(bert: Path, tmp_path: Path) -> None:
    write_items(tmp_path / "items.jsonl", make_items(ITEMS))
    (tmp_path / "segments.toml").write_text(SEGMENTS, encoding="utf-8")
    artifact, _ = run_export(make_options(tmp_path, bert, segments=tmp_path / "segments.toml"))
    assert list(SearchRecord.load(Layout(artifact).index).recall) == ["random histories", "texts"]


def one_vector_each(count: int, dim: int, seed: int = 0) -> Space:
    vectors = unit_rows(np.random.default_rng(seed).standard_normal((count, dim)))
    items = Int8Vectors.quantise(Ragged(vectors, np.arange(count + 1)))
    return Space("collaborative", items, np.ones(count, dtype=np.float32), scale=1.0)


def test_every_piece_is_the_nearest_of_its_book() -> None:
    space = one_vector_each(600, 10)
    own = fit_pieces(space.items, seed=0)
    assert own.books.shape == (3, CODES, 4)  # the last two dimensions of the last book are of no use
    vectors = np.pad(space.items.decode().vectors, ((0, 0), (0, 2))).reshape(600, 3, 4)
    for piece in range(3):
        distances = ((vectors[:, piece, None] - own.books[piece]) ** 2).sum(axis=2)
        chosen = distances[np.arange(600), own.codes[:, piece]]
        np.testing.assert_allclose(chosen, distances.min(axis=1), rtol=0, atol=1e-5)
    near = (own.decode().vectors * space.items.decode().vectors).sum(axis=1)
    # 8 bits for 4 random dimensions: two bits each leave a cosine above .9 (rate-distortion: 1 - 4 ** -2 = .94).
    assert near.mean() > 0.9


def test_fewer_items_than_a_book_has_pieces_are_their_own_pieces() -> None:
    space = one_vector_each(20, 8)
    np.testing.assert_allclose(
        fit_pieces(space.items, seed=0).decode().vectors, space.items.decode().vectors, rtol=0, atol=1e-3
    )


def test_equal_items_and_seed_give_equal_stand_ins_on_any_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    offsets = np.arange(0, 3001, 3)
    items = Int8Vectors.quantise(Ragged(rng.standard_normal((3000, 12)).astype(np.float32), offsets))
    text = Space("text", items, np.ones(3000, dtype=np.float32), scale=1.0)
    for space in (text, one_vector_each(1000, 12)):
        one, two, other = (fit_stand_in(space, seed, threads) for seed, threads in ((0, 1), (0, 2), (1, 1)))
        assert isinstance(one, CentroidVectors if space is text else PieceVectors)
        for name, array in one.arrays().items():
            np.testing.assert_array_equal(two.arrays()[name], array)
        np.testing.assert_array_equal(one.decode().vectors, two.decode().vectors)
        assert not np.array_equal(one.decode().vectors, other.decode().vectors)


def test_centroids_are_as_many_as_there_are_tokens_for() -> None:
    rng = np.random.default_rng(0)
    items = Int8Vectors.quantise(Ragged(rng.standard_normal((3000, 12)).astype(np.float32), np.arange(0, 3001, 3)))
    fitted = fit_centroids(items, seed=0)
    assert len(fitted.centroids) == 64  # of 32 tokens and more each, a power of two
    np.testing.assert_array_equal(fitted.centroids, fitted.centroids.astype(np.float16).astype(np.float32))


def test_a_space_that_knows_nothing_of_its_items_has_one_centroid_for_it() -> None:
    items = Int8Vectors.quantise(Ragged(np.zeros((4, 5), dtype=np.float32), np.array([0, 2, 4])))
    assert not fit_centroids(items, seed=0).decode().vectors.any()
