"""ONNX graphs: the checkpoint's backbone, and what is appended to it to make an encoder or a cross-encoder."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from tesserank.encoding.template import Template
from tesserank.errors import ConfigError
from tesserank.protocol import CROSS_ENCODER, SEGMENT_ENCODER
from tesserank_export.checkpoint import Checkpoint, first_line
from tesserank_export.fusion import Fusion, Probe, fuse
from tesserank_export.heads import Projection

OPSET = 17
_IDS, _MASK = (tensor.name for tensor in SEGMENT_ENCODER.inputs)
_EMBEDDINGS = SEGMENT_ENCODER.outputs[0].name
_PAIR_SCORES = CROSS_ENCODER.outputs[0].name
HIDDEN = "HIDDEN_STATES"
OWN_NODES = "tesserank/"  # how the names of nodes begin that are appended here
_MAX_BYTES = 2**31 - 2**20  # protobuf's bound on a message, less what nodes and names take


class Backbone(torch.nn.Module):  # type: ignore[misc]  # torch is not followed by the type checker
    """The checkpoint as a function: ids and mask, int64 [rows, L] -> last hidden states float32 [rows, L, hidden].

    It computes in ``dtype``.
    """

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.model = checkpoint.load_model(dtype)  # not cast afterwards: frequencies of positions stay float32
        self._dtype = dtype
        # A decoder's key-value cache has no place in an encoder.
        takes_cache = "use_cache" in inspect.signature(self.model.forward).parameters
        self._arguments = {"use_cache": False} if takes_cache else {}

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask, **self._arguments)
        hidden: torch.Tensor = outputs.last_hidden_state
        # Where there is nothing to convert, there shall be no operator for it in the graph.
        return hidden if self._dtype == torch.float32 else hidden.to(torch.float32)


def export_backbone(checkpoint: Checkpoint, path: Path) -> Fusion:
    """Trace the backbone into ONNX and fuse it for ORT. Raises ConfigError as ``trace_backbone``."""
    raw = path.with_suffix(".raw.onnx")
    config, probes = trace_backbone(checkpoint, raw)
    return fuse(raw, path, config, probes)


def trace_backbone(checkpoint: Checkpoint, path: Path, dtype: torch.dtype = torch.float32) -> tuple[Any, list[Probe]]:
    """Trace the backbone, in ``dtype``, into ONNX's standard operators; returns its configuration, and what to try
    graphs with.

    Raises ConfigError, naming the family, if the checkpoint cannot be run on token ids, traced, or stored.
    """
    backbone = Backbone(checkpoint, dtype)
    config = backbone.model.config.get_text_config()
    family = f"{checkpoint.name} (family {config.model_type})"
    size = sum(parameter.nbytes for parameter in backbone.parameters())
    if size > _MAX_BYTES:
        raise ConfigError(f"{family} has {size:,} bytes of float32 weights; one ONNX file holds {_MAX_BYTES:,}")
    with torch.no_grad():
        try:
            probes = _probes(backbone, checkpoint.template(), config.vocab_size)
        except Exception as error:  # whatever a model raises that wants other inputs than text
            raise ConfigError(f"{family} does not run as an encoder of token ids: {first_line(error)}") from error
        try:
            _trace(backbone, probes[0], path)
        except Exception as error:  # the exporter's errors have no base in common
            raise ConfigError(f"{family} cannot be exported to ONNX: {first_line(error)}") from error
    return config, probes


def _probes(backbone: Backbone, template: Template, vocabulary: int) -> list[Probe]:
    """Inputs to trace and to try graphs with: padded, as long as may be, and of one token."""
    probes = []
    for rows, length in ((2, min(8, template.max_tokens)), (1, template.max_tokens), (1, 1)):
        ids = np.random.default_rng(length).integers(0, vocabulary, (rows, length))
        mask = np.ones_like(ids)
        # A mask of ones alone lets a tracer fold the masking away.
        mask[1:, length * 3 // 4 :] = 0
        ids[mask == 0] = template.pad
        probes.append(Probe(ids, mask, backbone(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()))
    return probes


def _trace(backbone: Backbone, probe: Probe, path: Path) -> None:
    axes = {0: "rows", 1: "tokens"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of every Python branch; the parity report is what counts
        torch.onnx.export(
            backbone,
            (torch.from_numpy(probe.ids), torch.from_numpy(probe.mask)),
            str(path),
            input_names=[_IDS, _MASK],
            output_names=[HIDDEN],
            dynamic_axes={_IDS: axes, _MASK: axes, HIDDEN: axes},
            opset_version=OPSET,
            dynamo=False,  # the fusions of ORT's optimiser are written for this exporter's patterns
        )


def write_encoder(backbone: Path, projection: Projection, path: Path) -> None:
    """The segment encoder: ``TOKEN_EMBEDDINGS = normalise(hidden · weight + bias)``, rows of unit length."""
    graph = _Appender(onnx.load(backbone))
    projected = graph.node("MatMul", [HIDDEN, graph.constant("projection", projection.weight)])
    shifted = graph.node("Add", [projected, graph.constant("projection_bias", projection.bias)])
    norm = graph.node("ReduceL2", [shifted], axes=[-1], keepdims=1)
    positive = graph.node("Max", [norm, graph.constant("epsilon", np.array(1e-12, dtype=np.float32))])
    graph.node("Div", [shifted, positive], output=_EMBEDDINGS)
    graph.save(path, _EMBEDDINGS, ["rows", "tokens", projection.weight.shape[1]])


def write_cross_encoder(backbone: Path, head: NDArray[np.float32], path: Path) -> None:
    """The baseline: one score a pair from the first token's hidden state, by a ``head`` [hidden, 1]."""
    graph = _Appender(onnx.load(backbone))
    first = graph.node("Gather", [HIDDEN, graph.constant("first", np.array(0, dtype=np.int64))], axis=1)
    scores = graph.node("MatMul", [first, graph.constant("pair_head", head)])
    graph.node("Squeeze", [scores, graph.constant("last", np.array([-1], dtype=np.int64))], output=_PAIR_SCORES)
    graph.save(path, _PAIR_SCORES, ["rows"])


def quantise(source: Path, target: Path) -> None:
    """Dynamic int8: weights per channel, activations per tensor at run time (``quantize_dynamic`` of ORT)."""
    with _without_preprocessing_advice():
        quantize_dynamic(
            source,
            target,
            weight_type=QuantType.QInt8,
            per_channel=True,
            # fused operators are of a domain that ONNX's shape inference does not know
            extra_options={"DefaultTensorType": TensorProto.FLOAT},
        )


@contextmanager
def _without_preprocessing_advice() -> Iterator[None]:
    """ORT advises, on the root logger, the shape inference that fused operators cannot have (see ``quantise``)."""

    def keep(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Please consider to run pre-processing")

    logging.getLogger().addFilter(keep)
    try:
        yield
    finally:
        logging.getLogger().removeFilter(keep)


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
            helper.make_node(operator, inputs, [name], name=f"{OWN_NODES}node_{self._count}", **attributes)
        )
        return name

    def save(self, path: Path, output: str, shape: list[str | int]) -> None:
        del self._model.graph.output[:]
        self._model.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, shape))
        onnx.save(self._model, path)
