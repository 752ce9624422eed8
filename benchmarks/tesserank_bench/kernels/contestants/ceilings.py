"""What this machine can do at most: matrix products in three number formats, and copying memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tesserank_bench.kernels.contestants.base import Contestant


class Gemm(Contestant):
    """[rows, depth] × [depth, columns]; a subclass makes the matrices and multiplies them."""

    def __init__(self, rows: int, depth: int, columns: int, threads: int) -> None:
        self.sizes = rows, depth, columns
        self.thread_count = threads
        self.rng = np.random.default_rng(0)
        self.prepare()

    def prepare(self) -> None:
        """Make the matrices."""


class NumpyFloat32(Gemm):
    """numpy's float32 product: its BLAS."""

    def prepare(self) -> None:
        rows, depth, columns = self.sizes
        self._left = self.rng.standard_normal((rows, depth), dtype=np.float32)
        self._right = self.rng.standard_normal((depth, columns), dtype=np.float32)
        self._out = np.empty((rows, columns), dtype=np.float32)

    def run(self, turn: int) -> Any:
        return np.matmul(self._left, self._right, out=self._out)

    def threads(self) -> AbstractContextManager[Any]:
        limits: AbstractContextManager[Any] = threadpool_limits(self.thread_count, "blas")
        return limits


class TorchGemm(Gemm):
    """torch's product of two matrices of one type."""

    def prepare(self) -> None:
        import torch

        self._torch = torch
        rows, depth, columns = self.sizes
        self._left, self._right = self.matrix(rows, depth), self.matrix(depth, columns)

    def matrix(self, rows: int, columns: int) -> Any:
        """A random matrix of the contestant's type."""
        return self._torch.randn(rows, columns)

    def run(self, turn: int) -> Any:
        return self._torch.mm(self._left, self._right)

    def threads(self) -> AbstractContextManager[Any]:
        self._torch.set_num_threads(self.thread_count)
        return super().threads()


class TorchBfloat16(TorchGemm):
    """torch's bfloat16 product, summed in float32."""

    def matrix(self, rows: int, columns: int) -> Any:
        return super().matrix(rows, columns).bfloat16()


class TorchInt8(TorchGemm):
    """torch's int8 product with int32 sums."""

    def matrix(self, rows: int, columns: int) -> Any:
        return self._torch.randint(-127, 128, (rows, columns), dtype=self._torch.int8)

    def run(self, turn: int) -> Any:
        return self._torch._int_mm(self._left, self._right)


class OnnxInt8(Gemm):
    """onnxruntime's MatMulInteger, uint8 × int8 with int32 sums: the form that processors have instructions for."""

    def prepare(self) -> None:
        import onnxruntime

        rows, depth, columns = self.sizes
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.thread_count
        self._session = onnxruntime.InferenceSession(_product_graph(), options, providers=["CPUExecutionProvider"])
        self._inputs = {
            "A": self.rng.integers(0, 128, (rows, depth)).astype(np.uint8),
            "B": self.rng.integers(-127, 128, (depth, columns)).astype(np.int8),
        }

    def run(self, turn: int) -> Any:
        return self._session.run(None, self._inputs)


class Copy(Contestant):
    """Copying ``size`` bytes, each thread a part."""

    def __init__(self, size: int, threads: int) -> None:
        source = np.ones(size // 8, dtype=np.int64)
        target = np.zeros_like(source)
        self._parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
        self._pool = ThreadPoolExecutor(threads)

    def run(self, turn: int) -> Any:
        return list(self._pool.map(lambda part: np.copyto(*part), self._parts))


def _product_graph() -> bytes:
    from onnx import TensorProto, helper

    node = helper.make_node("MatMulInteger", ["A", "B"], ["Y"])
    inputs = [
        helper.make_tensor_value_info("A", TensorProto.UINT8, ["m", "k"]),
        helper.make_tensor_value_info("B", TensorProto.INT8, ["k", "n"]),
    ]
    output = helper.make_tensor_value_info("Y", TensorProto.INT32, ["m", "n"])
    graph = helper.make_graph([node], "product", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    serialised: bytes = model.SerializeToString()
    return serialised
