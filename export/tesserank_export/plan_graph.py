"""The graph that a TensorRT plan is built of.

Since TensorRT 11, networks are strongly typed: what is computed in is what the graph says, and the builder has no flags
for it. So there is a graph for each precision.

Projection, normalisation and output are float32 in all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, version_converter
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from tesserank.errors import ConfigError
from tesserank.protocol import SEGMENT_ENCODER
from tesserank_export.checkpoint import Checkpoint
from tesserank_export.graph import HIDDEN, OWN_NODES, trace_backbone, write_encoder
from tesserank_export.heads import Projection

_IDS, _MASK = (tensor.name for tensor in SEGMENT_ENCODER.inputs)
_FP8_OPSET = 19  # the first with QuantizeLinear to FP8
_FP8_PEAK = 448.0  # the largest number of E4M3
_LINEAR = ("MatMul", "Gemm")


def to_float16(source: Path, path: Path) -> None:
    """Write a plain graph in float16."""
    onnx.save(_in_float16(onnx.load(source)), path)


def write_bfloat16(checkpoint: Checkpoint, projection: Projection, path: Path) -> None:
    """Write a plain graph in bfloat16, traced of the checkpoint in it. Raises ConfigError as ``trace_backbone``."""
    with TemporaryDirectory(dir=path.parent) as scratch:
        backbone = Path(scratch) / "backbone.onnx"
        trace_backbone(checkpoint, backbone, torch.bfloat16)
        write_encoder(backbone, projection, path)


def to_fp8(source: Path, path: Path, texts: Sequence[NDArray[np.int64]]) -> None:
    """Write a plain graph whose products with weights are of FP8 (E4M3), everything else in float16.

    Weights, and what is multiplied with them, become E4M3 numbers times one step a tensor: its largest magnitude / 448,
    as NVIDIA's Model Optimizer does for max calibration. ``texts``: token ids that show how large activations get.
    Raises ConfigError for a graph without such products.
    """
    full = version_converter.convert_version(onnx.load(source), _FP8_OPSET)
    weights = {array.name: array for array in full.graph.initializer}
    linear = {
        node.name: (node.input[0], node.input[1])
        for node in full.graph.node
        if node.op_type in _LINEAR and node.input[1] in weights and not node.name.startswith(OWN_NODES)
    }
    if not linear:
        raise ConfigError(
            f"{source.name} has no product with weights that could be computed in fp8: use --tensorrt-precision fp16"
        )
    peaks = _peaks(full, sorted({activation for activation, _ in linear.values()}), texts)
    rounding = _Rounding(_in_float16(full))
    for activation, peak in peaks.items():
        rounding.add_activation(activation, peak)
    for weight in sorted({weight for _, weight in linear.values()}):
        rounding.add_weight(weight, numpy_helper.to_array(weights[weight]))
    onnx.save(rounding.applied_to(set(linear)), path)


def _in_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The backbone in float16, and behind it what was appended to it, which never hears of that."""
    appended: dict[str, list[Any]] = {name: [] for name in ("node", "initializer", "value_info")}
    for name, parts in appended.items():
        field = getattr(model.graph, name)
        parts += [part for part in field if part.name.startswith(OWN_NODES)]
        for part in parts:
            field.remove(part)
    outputs = list(model.graph.output)
    states = helper.make_tensor_value_info(HIDDEN, TensorProto.FLOAT, ["rows", "tokens", "hidden"])
    _replace(model.graph.output, [states])
    half = OnnxModel(convert_float_to_float16(model, keep_io_types=True))
    half.topological_sort()  # the converter appends its casts
    for name, parts in appended.items():
        getattr(half.model.graph, name).extend(parts)
    _replace(half.model.graph.output, outputs)
    return half.model


def _replace(field: Any, content: Sequence[Any]) -> None:
    """The content of a repeated field of a message."""
    del field[:]
    field.extend(content)


class _Texts(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is not followed by the type checker
    """One text a call, so that nothing is padding."""

    def __init__(self, texts: Sequence[NDArray[np.int64]]) -> None:
        self._texts = iter(texts)

    def get_next(self) -> dict[str, NDArray[np.int64]] | None:
        ids = next(self._texts, None)
        return None if ids is None else {_IDS: ids[None], _MASK: np.ones_like(ids)[None]}


def _peaks(model: onnx.ModelProto, tensors: Sequence[str], texts: Sequence[NDArray[np.int64]]) -> dict[str, float]:
    """The largest magnitude of each tensor when the model runs on the texts."""
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        onnx.save(model, path)
        calibrator = create_calibrator(
            path,
            op_types_to_calibrate=list(_LINEAR),
            augmented_model_path=str(path.with_name("observed.onnx")),
            calibrate_method=CalibrationMethod.MinMax,
        )
        calibrator.collect_data(_Texts(texts))
        ranges = calibrator.compute_data()
    return {name: max(float(np.abs(end).max()) for end in ranges[name].range_value) for name in tensors}


class _Rounding:
    """Rounds tensors of a float16 graph to FP8 and back, of which TensorRT makes products of FP8."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._zero = helper.make_tensor(f"{OWN_NODES}fp8_zero", TensorProto.FLOAT8E4M3FN, [], b"\0", raw=True)
        model.graph.initializer.append(self._zero)
        self._nodes: dict[str, list[onnx.NodeProto]] = {}  # that round a tensor; each is needed before its first use
        self._rounded: dict[str, str] = {}

    def add_activation(self, name: str, peak: float) -> None:
        """Round a tensor when the graph runs; what is larger than ``peak`` is cut off."""
        codes = f"{name}/fp8"
        step, _ = self._step(name, peak)
        self._nodes[name] = [helper.make_node("QuantizeLinear", [name, step, self._zero.name], [codes])]
        self._restore(name, codes, step)

    def add_weight(self, name: str, values: NDArray[np.float32]) -> None:
        """Store a weight in FP8."""
        step, value = self._step(name, float(np.abs(values).max(initial=0)))
        codes = torch.from_numpy(values / value).clamp(-_FP8_PEAK, _FP8_PEAK).to(torch.float8_e4m3fn)
        content = codes.view(torch.uint8).numpy().tobytes()
        stored = helper.make_tensor(f"{name}/fp8", TensorProto.FLOAT8E4M3FN, values.shape, content, raw=True)
        self._model.graph.initializer.append(stored)
        self._nodes[name] = []
        self._restore(name, stored.name, step)

    def applied_to(self, products: Collection[str]) -> onnx.ModelProto:
        """The model, its ``products`` (nodes by name) of rounded tensors, less the arrays that nothing needs now."""
        graph = self._model.graph
        nodes: list[onnx.NodeProto] = []
        for node in graph.node:
            if node.name in products:
                for place in range(2):
                    nodes += self._nodes.pop(node.input[place], [])
                    node.input[place] = self._rounded[node.input[place]]
            nodes.append(node)
        needed = {name for node in nodes for name in node.input}
        arrays = [array for array in graph.initializer if array.name in needed]
        _replace(graph.node, nodes)
        _replace(graph.initializer, arrays)
        return self._model

    def _step(self, name: str, peak: float) -> tuple[str, np.float16]:
        """Of codes of a tensor: its name in the graph, and the step. Not subnormal: FP8 has an exponent of its own."""
        step = np.maximum(np.float16(peak / _FP8_PEAK), np.finfo(np.float16).tiny)
        array = numpy_helper.from_array(np.array(step), name=f"{name}/step")
        self._model.graph.initializer.append(array)
        return array.name, step

    def _restore(self, name: str, codes: str, step: str) -> None:
        self._rounded[name] = f"{name}/rounded"
        node = helper.make_node("DequantizeLinear", [codes, step, self._zero.name], [self._rounded[name]])
        self._nodes[name].append(node)
