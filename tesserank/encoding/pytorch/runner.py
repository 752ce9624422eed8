"""Running a module of ``model``: packed rows or padded ones, from CUDA graphs where there are any."""

from __future__ import annotations

import codecs
import locale
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from tesserank.devices import AUTO, choose_device, current
from tesserank.encoding.batching import MOST_ROWS
from tesserank.encoding.pytorch import packing
from tesserank.encoding.pytorch.attention import can_pack
from tesserank.encoding.pytorch.files import Facts
from tesserank.encoding.pytorch.graphs import Capture, CudaGraphs, Graphs, stand_in
from tesserank.encoding.pytorch.model import Encoder
from tesserank.encoding.pytorch.packing import Packed, PackedShape
from tesserank.encoding.template import length_bucket, row_bucket
from tesserank.errors import ConfigError, InvalidArgumentError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# Above these, a forward pass takes longer on any GPU than launching its kernels does: nothing to gain, memory to lose.
MOST_CAPTURED_TOKENS = 4096


@dataclass(frozen=True)
class Form:
    """Where a model runs, what its backbone computes in, and whether rows are packed or padded."""

    device: torch.device
    dtype: torch.dtype
    packs: bool

    @staticmethod
    def choose(facts: Facts, device: str, dtype: str) -> Form:
        """Packed where the family of the model allows it and the GPU's attention does.

        Raises ConfigError for a device or type that cannot be.
        """
        where = choose_device(device)
        computed = choose_dtype(dtype, where)
        return Form(where, computed, facts.refused is None and can_pack(where, computed, facts.head_dim))


class Runner:
    """``compiler``: a backend of ``torch.compile``, "" for none; ``capture``: how graphs are made, for tests.

    Outputs are valid until the next run: keep ``alone`` until they are copied.
    """

    def __init__(
        self, encoder: Encoder, facts: Facts, form: Form, compiler: str = "", capture: Capture | None = None
    ) -> None:
        self.form = form
        self._facts = facts
        self._forward: Callable[..., torch.Tensor] = encoder.packed if form.packs else encoder.forward
        if compiler:
            read_utf8()
            self._forward = torch.compile(self._forward, dynamic=True, backend=compiler)
        on_gpu = form.device.type == "cuda"
        self.graphs = Graphs(form.device, capture or (CudaGraphs() if on_gpu else stand_in))
        self._lock = threading.Lock()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One thread at a time computes."""
        with self._lock, current(self.form.device), torch.inference_mode():
            yield

    def check(self, ids: NDArray[np.int64], length: int) -> None:
        """Raises InvalidArgumentError for ids or rows of a ``length`` that there is no row of an embedding for.

        On a GPU, reading beyond an embedding ends every later call of the process too, not this one alone.
        """
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < self._facts.vocabulary:
            raise InvalidArgumentError(
                f"INPUT_IDS from {ids.min()} to {ids.max()}, the encoder knows 0 to {self._facts.vocabulary - 1}"
            )
        if length > self._facts.max_tokens:
            raise InvalidArgumentError(f"rows of {length} tokens, the encoder takes {self._facts.max_tokens} at most")

    def packed(self, packed: Packed) -> torch.Tensor:
        """What the module makes of packed rows, and behind it of their padding."""
        shape = packed.shape
        forward = partial(self._from_packed, shape)
        fill = partial(packing.write, packed, shape)
        if shape.tokens > MOST_CAPTURED_TOKENS:
            return self.graphs.once(shape.numbers, fill, forward)
        return self.graphs.run(shape, shape.numbers, fill, forward)

    def _from_packed(self, shape: PackedShape, numbers: torch.Tensor) -> torch.Tensor:
        ids, positions, offsets = numbers.split([shape.tokens, shape.tokens, shape.rows + 1])
        return self._forward(ids, positions, offsets, shape.longest)

    def padded(self, ids: NDArray[np.int64], real: NDArray[np.bool_]) -> torch.Tensor:
        """What the module makes of rows [rows, L]: [rows, ...]; a second axis is that of length buckets."""
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
            return self.graphs.once(size, fill, forward)[:count]
        return self.graphs.run((rows, length), size, fill, forward)[:count]

    def warm_up(self, lengths: Sequence[int], tokens: int = MOST_CAPTURED_TOKENS) -> None:
        """Capture the graphs of calls of rows of ``lengths``, of up to ``tokens`` tokens; the largest first, in whose
        memory the others find room.
        """
        for length in sorted({min(length, self._facts.max_tokens) for length in lengths}, reverse=True):
            rows = min(max(tokens // length, 1), MOST_ROWS)
            while rows:
                self._run_zeros(rows, length)
                rows = self._next_smaller(rows, length)

    def _run_zeros(self, rows: int, length: int) -> None:
        ids = np.zeros((rows, length), dtype=np.int64)
        with self.alone():
            if self.form.packs:
                self.packed(Packed.of(ids, ids + 1))
            else:
                self.padded(ids, ids == 0)

    def _next_smaller(self, rows: int, length: int) -> int:
        """The most rows that have another graph than ``rows`` have; 0: there are none."""
        bucket = packing.token_bucket if self.form.packs else row_bucket
        size = length if self.form.packs else 1
        own = bucket(rows * size)
        return next((fewer for fewer in range(rows - 1, 0, -1) if bucket(fewer * size) != own), 0)


def read_utf8() -> None:
    """Compilers read their own sources in the locale's encoding, which is ASCII in the interpreter of Triton's stub."""
    if codecs.lookup(locale.getpreferredencoding(False)).name != "utf-8":
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """ "auto" is float32 on a CPU, bfloat16 on a GPU that multiplies it, float16 on an older one."""
    if name == AUTO:
        if device.type == "cpu":
            return torch.float32
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    if name not in DTYPES:
        raise ConfigError(f"torch_dtype must be {AUTO}, {', '.join(DTYPES)}, not {name!r}")
    return DTYPES[name]
