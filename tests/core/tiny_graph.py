"""A graph of a few nodes that stands for an encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TABLE = np.arange(30, dtype=np.float32).reshape(10, 3)
IDS = np.array([[1, 2], [9, 0]])
MASK = np.array([[1, 1], [1, 0]])


def write_graph(path: Path) -> Path:
    """TOKEN_EMBEDDINGS = TABLE[INPUT_IDS] - (the largest id of the batch) × ATTENTION_MASK.

    The maximum stands for dynamic int8, where a row's result depends on the rows beside it.
    """
    ids, mask = (
        helper.make_tensor_value_info(n, TensorProto.INT64, ["rows", "L"]) for n in ("INPUT_IDS", "ATTENTION_MASK")
    )
    output = helper.make_tensor_value_info("TOKEN_EMBEDDINGS", TensorProto.FLOAT, ["rows", "L", 3])
    nodes = [
        helper.make_node("Gather", ["table", "INPUT_IDS"], ["gathered"]),
        helper.make_node("ReduceMax", ["INPUT_IDS"], ["largest"], keepdims=0),
        helper.make_node("Mul", ["ATTENTION_MASK", "largest"], ["masked"]),
        helper.make_node("Cast", ["masked"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["floats", "last"], ["shift"]),
        helper.make_node("Sub", ["gathered", "shift"], ["TOKEN_EMBEDDINGS"]),
    ]
    constants = [numpy_helper.from_array(TABLE, "table"), numpy_helper.from_array(np.array([2]), "last")]
    model = helper.make_model(
        helper.make_graph(nodes, "tiny", [ids, mask], [output], constants),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
