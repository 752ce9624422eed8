"""The graphs that TensorRT plans are built of: in the precision asked for, and near what the full one says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from tesserank.encoding.engine import OnnxEngine
from tesserank.errors import ConfigError
from tesserank_export.checkpoint import Checkpoint, resolve_checkpoint
from tesserank_export.graph import trace_backbone, write_encoder
from tesserank_export.heads import Projection
from tesserank_export.plan_graph import to_float16, to_fp8, write_bfloat16
from tests.export.test_families import DECODERS, ENCODERS
from tests.export.tiny import HIDDEN, save_model

DIM = 16
LINEAR = 12  # products with weights of two layers of BERT
OWN = {"tesserank/projection", "tesserank/projection_bias", "tesserank/epsilon"}
RNG = np.random.default_rng(0)
PROJECTION = Projection(
    RNG.normal(size=(HIDDEN, DIM)).astype(np.float32), RNG.normal(size=DIM).astype(np.float32), "random"
)
TEXTS = [RNG.integers(5, 100, length) for length in (3, 9, 20, 30)]
IDS, MASK = RNG.integers(5, 100, (3, 20)), np.ones((3, 20), dtype=np.int64)
MASK[1, 7:] = 0


@dataclass(frozen=True)
class Plain:
    """A checkpoint, its plain graph, and what that says."""

    checkpoint: Checkpoint
    path: Path
    vectors: NDArray[np.float32]

    @staticmethod
    def of(checkpoint: Checkpoint, directory: Path) -> Plain:
        path = directory / "plain.onnx"
        trace_backbone(checkpoint, directory / "backbone.onnx")
        write_encoder(directory / "backbone.onnx", PROJECTION, path)
        return Plain(checkpoint, path, OnnxEngine(path, threads=1)(IDS, MASK))

    def assert_near(self, vectors: NDArray[np.float32], cosine: float) -> None:
        """Unit vectors, their mean cosine with the full ones at least that, and not the same."""
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-6)
        found = (vectors * self.vectors).sum(axis=-1)[MASK == 1].mean()
        assert cosine <= found
        assert (vectors != self.vectors).any()


@pytest.fixture(scope="module")
def plain(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Plain:
    return Plain.of(checkpoint, tmp_path_factory.mktemp("plain"))


class GatherElements(OpRun):  # type: ignore[misc]
    """ONNX's own fails where one row of indices is all there is."""

    def _run(self, data: Any, indices: Any, axis: int) -> tuple[Any]:
        return (np.take_along_axis(data, indices, axis=axis),)


def by_the_standard(path: Path) -> NDArray[np.float32]:
    """What a graph says by ONNX's reference: ONNX Runtime has no bfloat16 on a CPU."""
    evaluator = ReferenceEvaluator(onnx.load(path), new_ops=[GatherElements])
    with np.errstate(divide="ignore", invalid="ignore"):  # buckets of relative positions take the logarithm of 0
        found: NDArray[np.float32] = evaluator.run(None, {"INPUT_IDS": IDS, "ATTENTION_MASK": MASK})[0]
    return found


def types_of(path: Path) -> dict[str, int]:
    """Data types of the arrays that a graph holds, but for integers and scalars."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    floats = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN}
    return {
        array.name: array.data_type for array in model.graph.initializer if array.data_type in floats and array.dims
    }


def test_float16_is_the_backbone_in_float16(plain: Plain, tmp_path: Path) -> None:
    to_float16(plain.path, tmp_path / "half.onnx")
    types = types_of(tmp_path / "half.onnx")
    assert {name for name, kind in types.items() if kind == TensorProto.FLOAT} == OWN - {"tesserank/epsilon"}
    assert set(types.values()) == {TensorProto.FLOAT, TensorProto.FLOAT16}
    plain.assert_near(OnnxEngine(tmp_path / "half.onnx", threads=1)(IDS, MASK), 0.99999)


def test_bfloat16_is_the_backbone_in_bfloat16(plain: Plain, tmp_path: Path) -> None:
    write_bfloat16(plain.checkpoint, PROJECTION, tmp_path / "brain.onnx")
    types = types_of(tmp_path / "brain.onnx")
    assert {name for name, kind in types.items() if kind == TensorProto.FLOAT} == OWN - {"tesserank/epsilon"}
    assert set(types.values()) == {TensorProto.FLOAT, TensorProto.BFLOAT16}
    plain.assert_near(by_the_standard(tmp_path / "brain.onnx"), 0.9999)
    assert [path.name for path in tmp_path.iterdir()] == ["brain.onnx"]


def test_fp8_is_what_is_multiplied_with_weights_and_they(plain: Plain, tmp_path: Path) -> None:
    path = tmp_path / "eight.onnx"
    to_fp8(plain.path, path, TEXTS)
    model = onnx.load(path)
    types = types_of(path)
    eight = {name for name, kind in types.items() if kind == TensorProto.FLOAT8E4M3FN}
    assert len(eight) == LINEAR
    makers = {output: node.op_type for node in model.graph.node for output in node.output}
    kinds = [tuple(makers.get(name, "held") for name in n.input) for n in model.graph.node if n.op_type == "MatMul"]
    assert kinds.count(("DequantizeLinear", "DequantizeLinear")) == LINEAR
    assert sum("DequantizeLinear" in kind for kind in kinds) == LINEAR, "neither attention nor the projection"
    rounded = [node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert len(rounded) == len(set(rounded)) == 8, "query, key and value share what they are multiplied with"
    plain.assert_near(OnnxEngine(path, threads=1)(IDS, MASK), 0.998)
    assert [path.name for path in tmp_path.iterdir()] == ["eight.onnx"]


def arrays_of(path: Path) -> dict[str, NDArray[Any]]:
    return {array.name: numpy_helper.to_array(array) for array in onnx.load(path).graph.initializer}


def test_weights_in_fp8_are_the_weights(plain: Plain, tmp_path: Path) -> None:
    to_fp8(plain.path, tmp_path / "eight.onnx", TEXTS)
    full, rounded = arrays_of(plain.path), arrays_of(tmp_path / "eight.onnx")
    weights = [name for name in full if f"{name}/fp8" in rounded]
    assert len(weights) == LINEAR
    for name in weights:
        step, stored = float(rounded[f"{name}/step"]), rounded[f"{name}/fp8"].astype(np.float32)
        # Three bits of mantissa: off by at most a sixteenth of what it is, or half of the smallest step there is.
        np.testing.assert_allclose(stored * step, full[name], rtol=1 / 16, atol=step * 2**-10)
        assert np.abs(stored).max() == pytest.approx(448, rel=1 / 16), "all of the range is used"
        assert name not in rounded


def test_no_activation_that_was_seen_is_cut_off(plain: Plain, tmp_path: Path) -> None:
    to_fp8(plain.path, tmp_path / "eight.onnx", TEXTS)
    steps = arrays_of(tmp_path / "eight.onnx")
    names = sorted(n.input[0] for n in onnx.load(tmp_path / "eight.onnx").graph.node if n.op_type == "QuantizeLinear")
    whole = onnx.load(plain.path)
    whole.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    largest = dict.fromkeys(names, 0.0)
    for ids in TEXTS:
        inputs = {"INPUT_IDS": ids[None], "ATTENTION_MASK": np.ones_like(ids)[None]}
        found = ReferenceEvaluator(whole, new_ops=[GatherElements]).run(names, inputs)
        largest |= {name: max(largest[name], float(np.abs(own).max())) for name, own in zip(names, found, strict=True)}
    assert {name: 448 * float(steps[f"{name}/step"]) for name in names} == pytest.approx(largest, rel=1e-3)


@pytest.mark.parametrize("family", [*(name for name in ENCODERS if name != "bert"), *DECODERS])
def test_every_family_has_a_graph_of_each_precision(family: str, tmp_path: Path) -> None:
    config = (ENCODERS | DECODERS)[family]
    checkpoint = resolve_checkpoint(str(save_model(tmp_path / "model", config, framed=family in ENCODERS)))
    plain = Plain.of(checkpoint, tmp_path)
    to_float16(plain.path, tmp_path / "half.onnx")
    plain.assert_near(OnnxEngine(tmp_path / "half.onnx", threads=1)(IDS, MASK), 0.999)
    to_fp8(plain.path, tmp_path / "eight.onnx", TEXTS)
    plain.assert_near(OnnxEngine(tmp_path / "eight.onnx", threads=1)(IDS, MASK), 0.99)
    write_bfloat16(checkpoint, PROJECTION, tmp_path / "brain.onnx")
    plain.assert_near(by_the_standard(tmp_path / "brain.onnx"), 0.999)


@pytest.mark.parametrize("family", ["llama", "qwen3", "modernbert"])
def test_frequencies_of_positions_are_not_rounded(family: str, tmp_path: Path) -> None:
    """An angle is a position times a frequency: what rounding takes from that grows with the position."""
    config = (ENCODERS | DECODERS)[family]
    checkpoint = resolve_checkpoint(str(save_model(tmp_path / "model", config, framed=family in ENCODERS)))
    write_bfloat16(checkpoint, PROJECTION, tmp_path / "brain.onnx")
    nodes = onnx.load(tmp_path / "brain.onnx").graph.node
    held = [numpy_helper.to_array(node.attribute[0].t) for node in nodes if node.op_type == "Constant"]
    held += arrays_of(tmp_path / "brain.onnx").values()
    buffers = checkpoint.load_model().named_buffers()
    frequencies = [buffer.numpy() for name, buffer in buffers if name.endswith("inv_freq") and "original" not in name]
    assert frequencies
    for wanted in frequencies:
        assert any(array.dtype == np.float32 and np.array_equal(array.ravel(), wanted) for array in held)


def test_a_graph_without_products_of_weights_is_refused(tmp_path: Path) -> None:
    states = helper.make_tensor_value_info("HIDDEN_STATES", TensorProto.FLOAT, [1])
    node = helper.make_node("Identity", ["X"], ["HIDDEN_STATES"], name="alone")
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, [1])]
    model = helper.make_model(
        helper.make_graph([node], "nothing", inputs, [states]), opset_imports=[helper.make_opsetid("", 17)]
    )
    onnx.save(model, tmp_path / "nothing.onnx")
    with pytest.raises(ConfigError, match=r"nothing\.onnx has no product with weights .* --tensorrt-precision fp16"):
        to_fp8(tmp_path / "nothing.onnx", tmp_path / "eight.onnx", TEXTS)
    assert not (tmp_path / "eight.onnx").exists()
