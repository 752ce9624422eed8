"""What an export learns of tokens from its events: it is in the index, and in the encoder that is served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tesserank.artifact.bundle import open_template
from tesserank.artifact.layout import Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.encoding.batch import EncoderRows, encode_composed
from tesserank.encoding.engine import OnnxEngine
from tesserank.files import read_json
from tesserank.index import ItemIndex, load_index
from tesserank_export.catalog import read_catalog
from tesserank_export.events import Events, read_events
from tesserank_export.relevance import neighbours, relevance_weights, relevant_components
from tesserank_export.text_space import projected
from tests.export.conftest import Exported
from tests.export.tiny import ITEMS, make_options, run_export, write_events

LEARNED = """
[items]
vectors = "float16"
token_weights = "relevance"
projection = "relevant_components"
"""


@pytest.fixture(scope="module")
def learned(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The tiny catalogue with token weights and projection by its events."""
    return export_in(tmp_path_factory.mktemp("learned"), bert, LEARNED)


def export_in(root: Path, bert: Path, segments: str, events: bool = True) -> Exported:
    file = root / "segments.toml"
    file.write_text(segments, encoding="utf-8")
    log = write_events(root / "events.csv") if events else None
    artifact, output = run_export(make_options(root, bert, segments=file, events=log))
    return Exported(root, artifact, output)


@pytest.fixture(scope="module")
def plain(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> ItemIndex:
    """The index of the same catalogue as the encoder has it."""
    root = tmp_path_factory.mktemp("plain")
    return index_of(export_in(root, bert, '[items]\nvectors = "float16"\n'))


def index_of(exported: Exported) -> ItemIndex:
    return load_index(Layout(exported.artifact).index)


def log_in(root: Path) -> Events:
    return read_events(root / "events.csv", read_catalog(root / "items.jsonl"))


def test_tokens_weigh_their_relevance(learned: Exported) -> None:
    index = index_of(learned)
    items = [index.token_ids(row).tolist() for row in range(len(ITEMS))]
    expected = relevance_weights(items, len(index.token_weights), neighbours(log_in(learned.root)))
    np.testing.assert_array_equal(index.token_weights, expected)
    row = next(row for row, item in enumerate(items) if len(set(item)) > 1)
    np.testing.assert_array_equal(index.spaces["text"].item_weights(row), expected[items[row]].astype(np.float16))


def test_vectors_are_those_of_the_encoder_projected_on_relevant_components(learned: Exported, plain: ItemIndex) -> None:
    before, after = plain.spaces["text"].items.decode(), index_of(learned).spaces["text"].items.decode()
    filled = [row for row in range(len(ITEMS)) if before.item(row).any()]
    tokens = np.concatenate([before.item(row) for row in filled]).astype(np.float16)
    lengths = [len(before.item(row)) if row in filled else 0 for row in range(len(ITEMS))]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    components = relevant_components(tokens, offsets, neighbours(log_in(learned.root)))
    assert np.abs(components - np.eye(len(components))).max() > 0.1
    found = np.concatenate([after.item(row) for row in filled]).astype(np.float64)
    np.testing.assert_allclose(found, projected(tokens, components).astype(np.float64), atol=5e-3)  # float16, twice


def test_the_encoder_that_is_served_gives_the_vectors_of_the_index(learned: Exported) -> None:
    index, layout = index_of(learned), Layout(learned.artifact)
    encode = OnnxEngine(layout.encoder("fp32"), threads=1)
    template = open_template(learned.artifact)
    rows = [row for row in range(len(ITEMS)) if len(index.token_ids(row))]
    inputs = [template.compose([index.token_ids(row).tolist()]) for row in rows]
    for row, vectors in zip(rows, encode_composed(inputs, template, encode, EncoderRows(8)), strict=True):
        np.testing.assert_allclose(vectors, index.spaces["text"].items.item(row).astype(np.float32), atol=2**-10)


def test_the_artefact_says_where_its_projection_is_from(learned: Exported) -> None:
    pairs = len(neighbours(log_in(learned.root)))
    source = load_manifest(learned.artifact, ()).provenance["model"]["projection"]
    assert source.startswith("PCA 32->16")
    assert source.endswith(f"; relevant components of {pairs:,} pairs of items")
    assert read_json(Layout(learned.artifact).encoder_meta)["dim"] == 16


def test_another_export_takes_what_was_learned_and_another_log_does_not(bert: Path, learned: Exported) -> None:
    again = export_in(learned.root, bert, LEARNED)
    assert again.artifact == learned.artifact
    for what in ("token weights: relevance", "projection: relevant components of the log"):
        assert f"{what}: kept from before" in again.output
    log = learned.root / "events.csv"
    others = log.with_name("others.csv")
    others.write_text("".join(log.read_text().splitlines(keepends=True)[:-40]), encoding="utf-8")
    segments = learned.root / "segments.toml"
    _, output = run_export(make_options(learned.root, bert, segments=segments, events=others))
    for what in ("token weights: relevance", "projection: relevant components of the log"):
        assert f"{what}: done" in output


def test_without_events_tokens_weigh_their_idf_and_the_projection_is_the_encoders(
    bert: Path, plain: ItemIndex, tmp_path: Path
) -> None:
    exported = export_in(tmp_path, bert, LEARNED, events=False)
    assert "no events, so token weights by relevance are inverse document frequencies" in exported.output
    assert "no events, so the projection to token vectors stays the encoder's" in exported.output
    index = index_of(exported)
    assert index.encoder_id == plain.encoder_id
    np.testing.assert_array_equal(index.token_weights, plain.token_weights)
