"""The parity check against graphs that are really damaged: each damage has its named error; NaN never passes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import numpy_helper

from tesserank.encoding.batch import EncoderRows, encode_composed
from tesserank.encoding.engine import OnnxEngine
from tesserank.encoding.template import Composed
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.index import Space
from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.reference import maxsim
from tesserank.maxsim.vectors import KINDS, ItemVectors
from tesserank.maxsim.vectors import quantise as store
from tesserank_export import parity
from tesserank_export.checkpoint import Checkpoint
from tesserank_export.graph import quantise, write_encoder
from tesserank_export.heads import Projection
from tesserank_export.parity import TOLERANCES, AgreementError, CosineError, MaxErrorError, ShapeError, Tolerance
from tesserank_export.torch_encoder import torch_encode
from tests.export.tiny import HIDDEN, ITEMS

DIM = 16
ANYTHING = Tolerance(max_error=math.inf, mean_cosine=-1.0, top10_agreement=0.0)
Vectors = list[NDArray[np.float32]]


@pytest.fixture(scope="module")
def projection() -> Projection:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(HIDDEN, DIM)).astype(np.float32)
    return Projection(weight, rng.normal(size=DIM).astype(np.float32), "random")


@pytest.fixture(scope="module")
def inputs(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> list[Composed]:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    checkpoint.save_tokenizer(path)
    template = checkpoint.template()
    return [template.compose([ids[:20]]) for ids in TextTokenizer(path).many([text for _, text in ITEMS if text])]


@pytest.fixture(scope="module")
def original(checkpoint: Checkpoint, projection: Projection, inputs: list[Composed]) -> Vectors:
    return torch_encode(checkpoint, projection, inputs)


def run_graph(path: Path, checkpoint: Checkpoint, inputs: list[Composed], precision: str = "fp32") -> Vectors:
    engine = OnnxEngine.for_precision(path, precision, threads=1)
    return encode_composed(inputs, checkpoint.template(), engine, EncoderRows(8))


def with_initializer(path: Path, name: str, value: NDArray[np.float32]) -> Path:
    """The graph with one of its constants replaced."""
    model = onnx.load(path)
    constant = next(c for c in model.graph.initializer if c.name == f"tesserank/{name}")
    constant.CopyFrom(numpy_helper.from_array(value, constant.name))
    onnx.save(model, path)
    return path


def test_a_sound_graph_passes_in_both_precisions(
    backbone: Path,
    checkpoint: Checkpoint,
    projection: Projection,
    inputs: list[Composed],
    original: Vectors,
    tmp_path: Path,
) -> None:
    write_encoder(backbone, projection, tmp_path / "fp32.onnx")
    quantise(tmp_path / "fp32.onnx", tmp_path / "int8.onnx")
    for precision in ("fp32", "int8"):
        exported = run_graph(tmp_path / f"{precision}.onnx", checkpoint, inputs, precision)
        found = parity.compare(original, exported)
        parity.check(precision, found, TOLERANCES[precision])
        assert found.texts == len(inputs)
        assert found.tokens == sum(map(len, original))
        np.testing.assert_allclose(np.linalg.norm(np.concatenate(exported), axis=1), 1.0, atol=1e-5)


def test_a_graph_of_another_dimension_is_a_shape_error(
    backbone: Path,
    checkpoint: Checkpoint,
    projection: Projection,
    inputs: list[Composed],
    original: Vectors,
    tmp_path: Path,
) -> None:
    narrow = replace(projection, weight=projection.weight[:, :-1], bias=projection.bias[:-1])
    write_encoder(backbone, narrow, tmp_path / "narrow.onnx")
    exported = run_graph(tmp_path / "narrow.onnx", checkpoint, inputs)
    with pytest.raises(ShapeError, match=rf"the checkpoint gives \(\d+, {DIM}\), the exported graph \(\d+, 15\)"):
        parity.compare(original, exported)


def damaged(backbone: Path, projection: Projection, path: Path, damage: str) -> Path:
    write_encoder(backbone, projection, path)
    if damage == "bias dropped":
        return with_initializer(path, "projection_bias", np.zeros_like(projection.bias))
    weight = projection.weight.copy()
    if damage == "columns shuffled":
        return with_initializer(path, "projection", np.ascontiguousarray(weight[:, ::-1]))
    weight[3, 5] = math.nan
    return with_initializer(path, "projection", weight)


@pytest.mark.parametrize(
    ("damage", "tolerance", "error", "message"),
    [
        ("bias dropped", TOLERANCES["fp32"], MaxErrorError, "raise the tolerance with --tolerance fp32.max_error="),
        ("bias dropped", replace(TOLERANCES["fp32"], max_error=2.0), CosineError, "--tolerance fp32.mean_cosine="),
        (
            "columns shuffled",
            replace(ANYTHING, top10_agreement=0.99),
            AgreementError,
            "--tolerance fp32.top10_agreement=",
        ),
        ("NaN", TOLERANCES["fp32"], MaxErrorError, "differs by nan"),
        ("NaN", ANYTHING, MaxErrorError, "differs by nan"),
    ],
    ids=["MaxErrorError", "CosineError", "AgreementError", "NaN", "NaN under any tolerance"],
)
def test_a_damaged_graph_is_refused_by_name(
    damage: str, tolerance: Tolerance, error: type[Exception], message: str, backbone: Path, checkpoint: Checkpoint,
    projection: Projection, inputs: list[Composed], original: Vectors, tmp_path: Path,
) -> None:  # fmt: skip
    path = damaged(backbone, projection, tmp_path / "damaged.onnx", damage)
    found = parity.compare(original, run_graph(path, checkpoint, inputs))
    with pytest.raises(error, match=message):
        parity.check("fp32", found, tolerance)


def unit_vectors(seed: int, texts: int = 12, dim: int = 8) -> Vectors:
    rng = np.random.default_rng(seed)
    vectors = [rng.normal(size=(length, dim)) for length in rng.integers(1, 6, texts)]
    return [(v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32) for v in vectors]


@given(seed=st.integers(0, 1000), place=st.integers(0, 10**6))
def test_one_nan_anywhere_never_passes(seed: int, place: int) -> None:
    original = unit_vectors(seed)
    exported = [vectors.copy() for vectors in original]
    text = exported[place % len(exported)]
    text.flat[place % text.size] = math.nan
    for a, b in ((original, exported), (exported, original), (exported, exported)):
        with pytest.raises(MaxErrorError):
            parity.check("fp32", parity.compare(a, b), ANYTHING)


@given(seed=st.integers(0, 1000))
def test_vectors_agree_with_themselves_entirely(seed: int) -> None:
    vectors = unit_vectors(seed)
    found = parity.compare(vectors, vectors)
    assert (found.max_error, found.mean_error, found.top10_agreement) == (0.0, 0.0, 1.0)
    assert found.min_cosine == pytest.approx(1.0, abs=1e-6)


def test_the_numbers_are_those_of_a_case_worked_by_hand() -> None:
    east, north, back = (np.array([[x, y]], dtype=np.float32) for x, y in ((1, 0), (0, 1), (-1, 0)))
    found = parity.compare([east, east], [north, back])
    assert found.max_error == 2.0
    assert found.mean_error == 1.0  # (1 + 1 + 2 + 0) / 4
    assert found.mean_cosine == -0.5
    assert found.min_cosine == -1.0
    assert (found.texts, found.tokens) == (2, 2)


def test_agreement_is_the_share_of_the_top_ten_that_both_name() -> None:
    angles = np.linspace(0, 3, 21)
    line = [np.array([[np.cos(a), np.sin(a)]], dtype=np.float32) for a in angles]
    moved = [*line[:-1], -line[-1]]  # one text now points the other way
    expected = np.mean([overlap(line, moved, query) for query in range(len(line))])
    assert parity.compare(line, moved).top10_agreement == pytest.approx(expected)
    assert expected < 1.0


def overlap(before: Vectors, after: Vectors, query: int) -> float:
    def top(vectors: Vectors) -> set[int]:
        scores = {i: float(v[0] @ vectors[query][0]) for i, v in enumerate(vectors) if i != query}
        return set(sorted(scores, key=lambda i: -scores[i])[:10])

    return len(top(before) & top(after)) / 10


def test_a_single_text_has_nobody_to_be_ranked_with() -> None:
    alone = unit_vectors(0, texts=1)
    assert parity.compare(alone, alone).top10_agreement == 1.0


def make_space(vectors: Ragged, items: ItemVectors) -> Space:
    return Space("text", items, np.ones(len(vectors.vectors), dtype=np.float32), 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_stored_vectors_agree_with_what_they_were_made_from(kind: str) -> None:
    vectors = Ragged.of(unit_vectors(3, texts=300, dim=32))
    found = parity.compare_index(vectors, make_space(vectors, store(kind, vectors)), seed=0)
    parity.check("index", found, TOLERANCES["index"])
    assert 0 < found.max_error < 0.01
    assert found.texts == 128


def test_vectors_of_other_items_do_not_agree() -> None:
    vectors = Ragged.of(unit_vectors(3, texts=100))
    others = Ragged(vectors.vectors[::-1], vectors.offsets)
    found = parity.compare_index(vectors, make_space(vectors, store("int8", others)), seed=0)
    with pytest.raises(CosineError, match=r"space text: mean cosine .* --tolerance index\.mean_cosine="):
        parity.check("index", found, TOLERANCES["index"], "space text")
    with pytest.raises(AgreementError, match="space text: top-10 agreement"):
        parity.check("index", found, replace(ANYTHING, top10_agreement=0.98), "space text")


def test_agreement_of_an_index_is_that_of_its_items_as_segments_among_the_known_others() -> None:
    vectors = Ragged.of([*unit_vectors(5, texts=40), np.zeros((1, 8), dtype=np.float32)])
    coarse = Ragged(np.round(vectors.vectors * 4) / 4, vectors.offsets)
    found = parity.compare_index(vectors, make_space(vectors, store("float16", coarse)), seed=0)
    shares = []
    for query in range(40):
        tops = []
        for ragged in (vectors, coarse):
            weights = np.full(len(ragged.item(query)), 1 / len(ragged.item(query)))
            scores = {
                item: maxsim(ragged.item(query), weights, ragged.item(item)) for item in range(40) if item != query
            }
            tops.append(set(sorted(scores, key=lambda item: (-scores[item], item))[:10]))
        shares.append(len(tops[0] & tops[1]) / 10)
    assert 0.3 < np.mean(shares) < 0.99, "the case must tell"
    assert found.top10_agreement == pytest.approx(np.mean(shares), abs=0.01)  # two ties may be broken otherwise


def test_items_that_are_equals_agree_whichever_come_first() -> None:
    """Thirty items of one vector each, of which there are three kinds: the tenth is one of many that are as good."""
    kinds = unit_vectors(7, texts=3, dim=8)
    vectors = Ragged.of([kinds[row % 3][:1] for row in range(60)])
    noisy = Ragged(
        vectors.vectors + 1e-4 * np.random.default_rng(0).standard_normal(vectors.vectors.shape), vectors.offsets
    )
    found = parity.compare_index(vectors, make_space(vectors, store("float16", noisy)), seed=0)
    assert found.top10_agreement == 1.0
    worst = Ragged(-vectors.vectors, vectors.offsets)
    space = replace(make_space(vectors, store("float16", vectors)), queries=store("float16", worst))
    assert parity.compare_index(vectors, space, seed=0, queries=vectors).top10_agreement < 0.1


@pytest.mark.parametrize(("noise", "agrees"), [(1e-5, True), (0.1, False)])
def test_items_that_are_equals_but_for_a_truncation_agree_too(noise: float, agrees: bool) -> None:
    """As above, but the vectors that are learned differ already, by what a truncated decomposition leaves out."""
    kinds = np.stack([vectors[0] for vectors in unit_vectors(7, texts=3, dim=8)])[np.arange(60) % 3]
    rng = np.random.default_rng(0)
    learned, stored = (
        Ragged((kinds + noise * rng.standard_normal(kinds.shape)).astype(np.float32), np.arange(61)) for _ in range(2)
    )
    found = parity.compare_index(learned, make_space(learned, store("float16", stored)), seed=0)
    assert (found.top10_agreement == 1.0) == agrees


def test_what_is_no_number_never_agrees() -> None:
    vectors = Ragged(np.concatenate([own[:1] for own in unit_vectors(7, texts=60)]), np.arange(61))
    asked = vectors.vectors.copy()
    asked[:, 0] = np.nan
    queries = Ragged(asked, vectors.offsets)
    space = replace(make_space(vectors, store("float16", vectors)), queries=store("float16", queries))
    for of_space, of_original in ((space, vectors), (space, queries)):
        found = parity.compare_index(vectors, of_space, seed=0, queries=of_original)
        with pytest.raises(AgreementError, match="nan"):
            parity.check("index", found, ANYTHING)


def test_a_single_item_has_nobody_to_be_ranked_with() -> None:
    alone = Ragged.of(unit_vectors(0, texts=1))
    assert parity.compare_index(alone, make_space(alone, store("int8", alone)), seed=0).top10_agreement == 1.0
