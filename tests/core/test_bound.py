"""Inputs and outputs bound to the device's memory: the CPU stands in for the GPU, the code is the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tesserank.encoding.bound import BoundEngine, ProfiledEngine
from tesserank.encoding.engine import OnnxEngine
from tesserank.encoding.providers import profiles
from tesserank.encoding.template import length_bucket, row_bucket
from tesserank.errors import InvalidArgumentError
from tests.core.tiny_graph import TABLE, write_graph

INPUTS = ("INPUT_IDS", "ATTENTION_MASK")
MOST = 12  # tokens of a row


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_graph(tmp_path_factory.mktemp("graph") / "model.onnx")


@pytest.fixture(scope="module")
def bound(graph: Path) -> BoundEngine:
    session = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    return BoundEngine(session, ("cpu", 0), MOST, cuda_graphs=True)


@pytest.fixture(scope="module")
def plain(graph: Path) -> OnnxEngine:
    return OnnxEngine(graph, threads=1)


@given(rows=st.integers(1, 9), length=st.integers(1, 5), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_bound_is_what_unbound_is(rows: int, length: int, seed: int, bound: BoundEngine, plain: OnnxEngine) -> None:
    rng = np.random.default_rng(seed)
    ids, mask = rng.integers(0, 10, (rows, length)), rng.integers(0, 2, (rows, length))
    np.testing.assert_array_equal(bound(ids, mask), plain(ids, mask))


def test_one_number_a_row_is_bound_as_well(tmp_path: Path) -> None:
    """As the cross-encoder's scores are."""
    ids, mask = (helper.make_tensor_value_info(n, TensorProto.INT64, ["rows", "L"]) for n in INPUTS)
    nodes = [
        helper.make_node("Mul", list(INPUTS), ["real"]),
        helper.make_node("Cast", ["real"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["floats", "axis"], ["SCORES"], keepdims=0),
    ]
    output = helper.make_tensor_value_info("SCORES", TensorProto.FLOAT, ["rows"])
    graph = helper.make_graph(nodes, "sum", [ids, mask], [output], [numpy_helper.from_array(np.array([1]), "axis")])
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "sum.onnx")
    session = ort.InferenceSession(str(tmp_path / "sum.onnx"), providers=["CPUExecutionProvider"])
    found = BoundEngine(session, ("cpu", 0), MOST)(
        np.array([[1, 2], [3, 4], [5, 6]]), np.array([[1, 1], [1, 0], [1, 1]])
    )
    assert found.tolist() == [3, 3, 11]


def test_rows_that_are_too_long_are_refused(bound: BoundEngine) -> None:
    ones = np.ones((1, MOST + 1), dtype=np.int64)
    with pytest.raises(InvalidArgumentError, match=f"rows of {MOST + 1} tokens, the encoder takes {MOST} at most"):
        bound(ones, ones)


def test_few_shapes_are_bound(bound: BoundEngine) -> None:
    for rows in range(1, 9):
        for length in range(1, MOST + 1):
            ones = np.ones((rows, length), dtype=np.int64)
            assert bound(ones, ones).shape == (rows, length, 3)
    shapes = {(row_bucket(rows), length_bucket(length, MOST)) for rows in range(1, 9) for length in range(1, MOST + 1)}
    assert shapes <= set(bound._bindings)
    assert len(bound._bindings) <= 5 * 4, "rows 1, 2, 4, 8, 16, and lengths 6, 8, 10, 12"


def test_each_profile_has_its_engine(bound: BoundEngine) -> None:
    asked: list[tuple[int, tuple[int, ...]]] = []

    class Recording(BoundEngine):
        def __init__(self, number: int) -> None:
            self.number = number

        def __call__(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
            asked.append((self.number, ids.shape))
            return bound(ids, mask)

    prepared = profiles([6, 8], (2, 4), 10)
    engine = ProfiledEngine(prepared, [Recording(number) for number in range(3)])
    for rows, length in ((1, 1), (4, 6), (3, 7), (2, 9), (1, 10)):
        ones = np.ones((rows, length), dtype=np.int64)
        np.testing.assert_array_equal(engine(ones, ones), TABLE[ones] - 1)
    assert [number for number, _ in asked] == [0, 0, 1, 2, 2]
    for shape in ((5, 6), (1, 11)):
        with pytest.raises(InvalidArgumentError, match=rf"{shape[0]} rows of {shape[1]} tokens, .* 4 of 10 at most"):
            engine(np.ones(shape, dtype=np.int64), np.ones(shape, dtype=np.int64))
