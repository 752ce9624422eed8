"""Running an ONNX graph with its inputs and outputs in the device's memory, one binding for each shape."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tesserank.encoding.batching import Engine, on_gpu
from tesserank.encoding.providers import Profile
from tesserank.encoding.template import length_bucket, row_bucket
from tesserank.errors import InvalidArgumentError
from tesserank.protocol import SEGMENT_ENCODER

_IDS, _MASK = (tensor.name for tensor in SEGMENT_ENCODER.inputs)


@dataclass(frozen=True)
class _Binding:
    """Memory of one shape. Its address stays, as a CUDA graph demands."""

    ids: Any
    mask: Any
    output: Any
    io: Any
    run_options: Any


class BoundEngine(Engine):
    """Ids and mask, int64 [rows, L] -> the graph's output [rows, ...]. Rows are rounded up to a power of two, and L
    to a length bucket of at most ``max_tokens``: there is a binding, and a CUDA graph, for each shape.

    ``device``: (cuda, 0) or, as its stand-in, (cpu, 0). One thread at a time runs.
    """

    def __init__(self, session: Any, device: tuple[str, int], max_tokens: int, cuda_graphs: bool = False) -> None:
        self.batching = on_gpu()
        self._max_tokens = max_tokens
        self._session = session
        self._device = device
        self._cuda_graphs = cuda_graphs
        output = session.get_outputs()[0]
        self._output, self._inner = output.name, tuple(output.shape[2:])
        self._bindings: dict[tuple[int, int], _Binding] = {}
        self._lock = threading.Lock()

    def __call__(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Raises InvalidArgumentError for rows that are too long."""
        rows, length = input_ids.shape
        if length > self._max_tokens:
            raise InvalidArgumentError(f"rows of {length} tokens, the encoder takes {self._max_tokens} at most")
        with self._lock:
            result: NDArray[np.float32] = self._run(input_ids, attention_mask).numpy()
        return result[:rows, :length] if self._inner else result[:rows]

    def _run(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> Any:
        rows, length = input_ids.shape
        shape = (row_bucket(rows), length_bucket(length, self._max_tokens))
        binding = self._bindings.get(shape)
        if binding is None:
            binding = self._bindings[shape] = self._bind(shape)
        behind = ((0, shape[0] - rows), (0, shape[1] - length))
        # Rows that are not there attend to one token: attention among nothing would be NaN.
        binding.ids.update_inplace(np.ascontiguousarray(np.pad(input_ids, behind)))
        mask = np.pad(attention_mask, behind)
        mask[rows:, :1] = 1
        binding.mask.update_inplace(np.ascontiguousarray(mask))
        self._session.run_with_iobinding(binding.io, binding.run_options)
        return binding.output

    def _bind(self, shape: tuple[int, int]) -> _Binding:
        def memory(size: tuple[int, ...], dtype: type) -> Any:
            return ort.OrtValue.ortvalue_from_shape_and_type(size, dtype, *self._device)

        ids, mask = memory(shape, np.int64), memory(shape, np.int64)
        output = memory((*shape[: 2 if self._inner else 1], *self._inner), np.float32)
        io = self._session.io_binding()
        io.bind_ortvalue_input(_IDS, ids)
        io.bind_ortvalue_input(_MASK, mask)
        io.bind_ortvalue_output(self._output, output)
        options = ort.RunOptions()
        if self._cuda_graphs:
            options.add_run_config_entry("gpu_graph_id", str(len(self._bindings) + 1))  # a graph for each shape
        return _Binding(ids, mask, output, io, options)


class ProfiledEngine(Engine):
    """An engine for each profile, the one that a call's length belongs to.

    ONNX Runtime's TensorRT provider runs the first profile of a session only (microsoft/onnxruntime#31624), hence a
    session for each.
    """

    def __init__(self, profiles: Sequence[Profile], engines: Sequence[BoundEngine]) -> None:
        self.batching = on_gpu(most_rows=min(profile.rows[2] for profile in profiles))
        self._engines = list(zip(profiles, engines, strict=True))

    def __call__(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Raises InvalidArgumentError for more rows or tokens than there is a profile for."""
        return self._engine(*input_ids.shape)(input_ids, attention_mask)

    def _engine(self, rows: int, length: int) -> BoundEngine:
        for profile, engine in self._engines:
            if length <= profile.lengths[2] and row_bucket(rows) <= profile.rows[2]:
                return engine
        last, _ = self._engines[-1]
        raise InvalidArgumentError(
            f"{rows} rows of {length} tokens, TensorRT was prepared for {last.rows[2]} of {last.lengths[2]} at most"
        )
