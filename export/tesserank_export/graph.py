"""ONNX graphs: the checkpoint's backbone, and what is appended to it to make an encoder or a cross-encoder."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.optimizer import optimize_model

from tesserank.protocol import CROSS_ENCODER, SEGMENT_ENCODER
from tesserank_export.checkpoint import Checkpoint, Projection

OPSET = 17
_IDS, _MASK = (tensor.name for tensor in SEGMENT_ENCODER.inputs)
_EMBEDDINGS = SEGMENT_ENCODER.outputs[0].name
_PAIR_SCORES = CROSS_ENCODER.outputs[0].name
_HIDDEN = "HIDDEN_STATES"


class Backbone(torch.nn.Module):
    """The checkpoint as a function: ids and mask, int64 [rows, L] -> last hidden states float32 [rows, L, hidden]."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.model = checkpoint.load_model()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        arguments: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
        if hasattr(self.model.config, "use_cache"):
            arguments["use_cache"] = False  # a decoder's key-value cache has no place in an encoder
        hidden: torch.Tensor = self.model(**arguments).last_hidden_state
        return hidden


def export_backbone(checkpoint: Checkpoint, path: Path) -> dict[str, int]:
    """Trace the backbone into ONNX and fuse it for ORT. Returns how often each fused operator stands in the graph."""
    backbone = Backbone(checkpoint)
    template = checkpoint.template()
    ids = torch.full((2, 8), template.pad, dtype=torch.int64)
    ids[:, :6] = torch.arange(6) % backbone.model.config.vocab_size
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0  # a mask of ones alone lets a tracer fold the masking away
    axes = {0: "rows", 1: "tokens"}
    raw = path.with_suffix(".raw.onnx")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of every Python branch; the parity report is what counts
        torch.onnx.export(
            backbone,
            (ids, mask),
            str(raw),
            input_names=[_IDS, _MASK],
            output_names=[_HIDDEN],
            dynamic_axes={_IDS: axes, _MASK: axes, _HIDDEN: axes},
            opset_version=OPSET,
            dynamo=False,  # the fusions of ORT's optimiser are written for this exporter's patterns
        )
    config = backbone.model.config
    fused = optimize_model(
        str(raw), model_type="bert", num_heads=config.num_attention_heads, hidden_size=config.hidden_size, opt_level=0
    )
    fused.save_model_to_file(str(path))
    raw.unlink()
    statistics: dict[str, int] = fused.get_fused_operator_statistics()
    return {name: count for name, count in statistics.items() if count}


def write_encoder(backbone: Path, projection: Projection, path: Path) -> None:
    """The segment encoder: ``TOKEN_EMBEDDINGS = normalise(hidden · weight + bias)``, rows of unit length."""
    graph = _Appender(onnx.load(backbone))
    projected = graph.node("MatMul", [_HIDDEN, graph.constant("projection", projection.weight)])
    shifted = graph.node("Add", [projected, graph.constant("projection_bias", projection.bias)])
    norm = graph.node("ReduceL2", [shifted], axes=[-1], keepdims=1)
    positive = graph.node("Max", [norm, graph.constant("epsilon", np.array(1e-12, dtype=np.float32))])
    graph.node("Div", [shifted, positive], output=_EMBEDDINGS)
    graph.save(path, _EMBEDDINGS, ["rows", "tokens", projection.weight.shape[1]])


def write_cross_encoder(backbone: Path, hidden: int, seed: int, path: Path) -> None:
    """The baseline: one score a pair from the first token's hidden state. Its head is random: it is there for its cost."""
    weights = np.random.default_rng(seed).normal(0, hidden**-0.5, (hidden, 1)).astype(np.float32)
    graph = _Appender(onnx.load(backbone))
    first = graph.node("Gather", [_HIDDEN, graph.constant("first", np.array(0, dtype=np.int64))], axis=1)
    scores = graph.node("MatMul", [first, graph.constant("pair_head", weights)])
    graph.node("Squeeze", [scores, graph.constant("last", np.array([-1], dtype=np.int64))], output=_PAIR_SCORES)
    graph.save(path, _PAIR_SCORES, ["rows"])


def quantise(source: Path, target: Path) -> None:
    """Dynamic int8: weights per channel, activations per tensor at run time (``quantize_dynamic`` of ORT)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_dynamic(
            source,
            target,
            weight_type=QuantType.QInt8,
            per_channel=True,
            # fused operators are of a domain that ONNX's shape inference does not know
            extra_options={"DefaultTensorType": TensorProto.FLOAT},
        )


class _Appender:
    """Appends nodes to a model whose output is HIDDEN_STATES."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._count = 0

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self._model.graph.initializer.append(numpy_helper.from_array(value, name=f"tesserank/{name}"))
        return f"tesserank/{name}"

    def node(self, operator: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        self._count += 1
        name = output or f"tesserank/{operator}_{self._count}"
        self._model.graph.node.append(
            helper.make_node(operator, inputs, [name], name=f"tesserank/node_{self._count}", **attributes)
        )
        return name

    def save(self, path: Path, output: str, shape: list[str | int]) -> None:
        del self._model.graph.output[:]
        self._model.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, shape))
        onnx.save(self._model, path)
