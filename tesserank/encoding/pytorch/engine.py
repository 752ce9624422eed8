"""The engine: token ids → token vectors, by PyTorch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from tesserank.artifact.layout import Layout
from tesserank.devices import AUTO, choose_device, current
from tesserank.encoding.batching import MOST_ROWS, Engine, on_gpu
from tesserank.encoding.pytorch import packing
from tesserank.encoding.pytorch.attention import can_pack
from tesserank.encoding.pytorch.files import Facts, load
from tesserank.encoding.pytorch.graphs import Capture, CudaGraphs, Graphs, stand_in
from tesserank.encoding.pytorch.packing import Packed, PackedShape
from tesserank.encoding.template import length_bucket, row_bucket
from tesserank.errors import ConfigError, InvalidArgumentError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# Above these, a forward pass takes longer on any GPU than launching its kernels does: nothing to gain, memory to lose.
MOST_CAPTURED_TOKENS = 4096
WARM_LENGTHS = (32, 64, 128)


class TorchEngine(Engine):
    """Ids and mask, int64 [rows, L] -> float32 [rows, L, d]; 0 where the mask is 0.

    Rows are packed where the family of the model allows it and the GPU's attention does; else they stay padded. Safe
    to use from several threads, one of which computes at a time.
    """

    def __init__(
        self, layout: Layout, device: str = AUTO, dtype: str = AUTO, compiler: str = "", capture: Capture | None = None
    ) -> None:
        """``compiler``: a backend of ``torch.compile``, "" for none; ``capture``: how graphs are made, for tests.

        Raises ArtifactError if the artefact does not hold this engine, ConfigError for a device or type that cannot be.
        """
        self._facts = Facts.read(layout)
        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device)
        self.packs = self._facts.refused is None and can_pack(self.device, self.dtype, self._facts.head_dim)
        self.batching = on_gpu(unpadded=self.packs)
        encoder = load(layout, self._facts, self.device, self.dtype, self.packs)
        self._forward: Callable[..., torch.Tensor] = encoder.packed if self.packs else encoder.forward
        if compiler:
            self._forward = torch.compile(self._forward, dynamic=True, backend=compiler)
        self._graphs = Graphs(self.device, capture or (CudaGraphs() if self.device.type == "cuda" else stand_in))
        self._lock = threading.Lock()
        self.dim = len(encoder.bias)

    def __call__(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Raises InvalidArgumentError for ids or lengths that the model has no row of an embedding for."""
        real = attention_mask != 0
        self._check(input_ids[real], input_ids.shape[1])
        vectors = np.zeros((*input_ids.shape, self.dim), dtype=np.float32)
        if not real.any():
            return vectors
        with self._lock, current(self.device), torch.inference_mode():
            if self.packs:
                vectors[real] = self._run_packed(Packed.of(input_ids, attention_mask)).cpu().numpy()
            else:
                vectors[real] = self._run_padded(input_ids, real).cpu().numpy()[real]
        return vectors

    def encode_rows(self, rows: Sequence[NDArray[np.int64]]) -> list[torch.Tensor]:
        """Rows of any lengths, ids int64 [L], in one pass -> each one's vectors float32 [L, d], on the device.

        Raises InvalidArgumentError as a call does.
        """
        packed = Packed.of_rows(rows)
        self._check(packed.ids, packed.longest)
        if not len(packed.ids):
            return [torch.empty((0, self.dim), device=self.device) for _ in rows]
        lengths = np.diff(packed.offsets)
        with self._lock, current(self.device), torch.inference_mode():
            if self.packs:
                return list(self._run_packed(packed).clone().split(lengths.tolist()))
            real = np.arange(packed.longest) < lengths[:, None]
            ids = np.zeros(real.shape, dtype=np.int64)
            ids[real] = packed.ids
            vectors = self._run_padded(ids, real).clone()
            return [vectors[row, :length] for row, length in enumerate(lengths.tolist())]

    def warm_up(self, lengths: Sequence[int] = WARM_LENGTHS, tokens: int = MOST_CAPTURED_TOKENS) -> None:
        """Capture the graphs of calls of rows of ``lengths``, of up to ``tokens`` tokens; the largest first, in whose
        memory the others find room.
        """
        for length in sorted({min(length, self._facts.max_tokens) for length in lengths}, reverse=True):
            rows = min(max(tokens // length, 1), MOST_ROWS)
            while rows:
                ones = np.ones((rows, length), dtype=np.int64)
                self(np.zeros_like(ones), ones)
                rows = self._next_smaller(rows, length)

    def _next_smaller(self, rows: int, length: int) -> int:
        """The most rows that have another graph than ``rows`` have; 0: there are none."""
        bucket = packing.token_bucket if self.packs else row_bucket
        size = length if self.packs else 1
        own = bucket(rows * size)
        return next((fewer for fewer in range(rows - 1, 0, -1) if bucket(fewer * size) != own), 0)

    def _check(self, ids: NDArray[np.int64], length: int) -> None:
        """On a GPU, reading beyond an embedding ends every later call of the process too, not this one alone."""
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < self._facts.vocabulary:
            raise InvalidArgumentError(
                f"INPUT_IDS from {ids.min()} to {ids.max()}, the encoder knows 0 to {self._facts.vocabulary - 1}"
            )
        if length > self._facts.max_tokens:
            raise InvalidArgumentError(f"rows of {length} tokens, the encoder takes {self._facts.max_tokens} at most")

    def _run_packed(self, packed: Packed) -> torch.Tensor:
        """float32 [T, d]; valid until the next run."""
        shape = packed.shape
        forward = partial(self._from_packed, shape)
        fill = partial(packing.write, packed, shape)
        if shape.tokens > MOST_CAPTURED_TOKENS:
            return self._graphs.once(shape.numbers, fill, forward)[: len(packed.ids)]
        return self._graphs.run(shape, shape.numbers, fill, forward)[: len(packed.ids)]

    def _from_packed(self, shape: PackedShape, numbers: torch.Tensor) -> torch.Tensor:
        ids, positions, offsets = numbers.split([shape.tokens, shape.tokens, shape.rows + 1])
        return self._forward(ids, positions, offsets, shape.longest)

    def _run_padded(self, ids: NDArray[np.int64], real: NDArray[np.bool_]) -> torch.Tensor:
        """float32 [rows, L, d]; valid until the next run."""
        count, own_length = ids.shape
        rows, length = row_bucket(count), length_bucket(own_length, self._facts.max_tokens)

        def fill(numbers: NDArray[np.int64]) -> None:
            there = numbers.reshape(2, rows, length)
            there[:] = 0
            there[0, :count, :own_length], there[1, :count, :own_length] = ids, real
            there[1, :, 0] = 1  # attention among nothing would be NaN

        def forward(numbers: torch.Tensor) -> torch.Tensor:
            return self._forward(*numbers.view(2, rows, length))

        size = 2 * rows * length
        if rows * length > MOST_CAPTURED_TOKENS:
            return self._graphs.once(size, fill, forward)[:count, :own_length]
        return self._graphs.run((rows, length), size, fill, forward)[:count, :own_length]


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """ "auto" is float32 on a CPU, bfloat16 on a GPU that multiplies it, float16 on an older one."""
    if name == AUTO:
        if device.type == "cpu":
            return torch.float32
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    if name not in DTYPES:
        raise ConfigError(f"torch_dtype must be {AUTO}, {', '.join(DTYPES)}, not {name!r}")
    return DTYPES[name]
