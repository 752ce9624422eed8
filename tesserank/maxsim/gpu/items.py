"""Item vectors in device memory, as the kernels read them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from tesserank.maxsim.compact import PEAK as COMPACT_PEAK
from tesserank.maxsim.compact import CompactVectors
from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.vectors import FloatVectors, ItemVectors, SteppedVectors

# Name -> what a component is stored as, and the largest that is used of it.
STORAGE = {
    "float16": (torch.float16, 1.0),
    "bfloat16": (torch.bfloat16, 1.0),
    "int8": (torch.int8, 127.0),
    "fp8": (torch.float8_e4m3fn, 448.0),
}
MOST_DIMENSIONS = 512  # a tile of items and some queries must fit a multiprocessor
_MEASURED_ROWS = 1 << 17  # at once, in float32
_UPLOADED_ROWS = 1 << 20  # at once: a copy of the whole index would be much to ask of the host
NARROWEST = {1: 32, 2: 16}  # dimensions of a product on tensor cores, by bytes of a component


@dataclass(frozen=True)
class DeviceItems:
    """T token vectors of N items, at least one each; a vector is ``vectors * steps``, and stands for what it decodes
    to.

    * ``vectors`` [T, D] of a type of STORAGE; D is d rounded up to a power of two, filled with zeros;
    * ``steps`` float32 [D], which the kernels multiply into the query, 0 where there is no dimension;
    * ``offsets`` int64 [N + 1];
    * ``dim`` is d; ``longest`` the most vectors of an item.
    """

    storage: str
    vectors: torch.Tensor
    steps: torch.Tensor
    offsets: torch.Tensor
    dim: int
    longest: int

    @staticmethod
    def upload(items: ItemVectors, device: torch.device | str, storage: str | None = None) -> DeviceItems:
        """``items`` of an index on a device.

        Without ``storage`` as exactly as they are: int8 as int8, whole numbers of up to 2,047 (``int16`` and
        ``compact``) as float16, which holds those exactly, and float16 as it is. Raises ValueError for a storage that
        is none, for more than MOST_DIMENSIONS, and for an item without vectors, which the index does not let happen.
        """
        if items.dim > MOST_DIMENSIONS:
            raise ValueError(f"{items.dim:,} dimensions: at most {MOST_DIMENSIONS:,} can be scored on a GPU")
        lengths = items.lengths
        if len(lengths) and lengths.min() < 1:
            raise ValueError(f"item {int(lengths.argmin())} has no vectors")
        chosen = storage or ("int8" if items.kind == "int8" else "float16")
        if chosen not in STORAGE:
            raise ValueError(f"unknown storage {chosen!r}: one of {', '.join(STORAGE)} is needed")
        numbers, steps = _exact(items) if storage in (None, items.kind) else _rounded(items.decode(), chosen)
        dtype, _ = STORAGE[chosen]
        width = max(1 << (items.dim - 1).bit_length(), NARROWEST[dtype.itemsize])
        vectors = torch.zeros((len(numbers), width), dtype=dtype, device=device)
        for begin in range(0, len(numbers), _UPLOADED_ROWS):
            part = np.array(numbers[begin : begin + _UPLOADED_ROWS])  # a copy: an index that was loaded is read-only
            vectors[begin : begin + len(part), : items.dim] = torch.from_numpy(part).to(device).to(dtype)
        wide = torch.zeros(width, dtype=torch.float32, device=device)
        wide[: items.dim] = torch.from_numpy(np.array(steps)).to(device)
        offsets = torch.from_numpy(items.offsets.astype(np.int64)).to(device)
        return DeviceItems(chosen, vectors, wide, offsets, items.dim, int(lengths.max(initial=1)))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of device memory."""
        return sum(tensor.numel() * tensor.element_size() for tensor in (self.vectors, self.steps, self.offsets))

    @cached_property
    def farthest(self) -> float:
        """Length of the longest vector of numbers, steps left out."""
        parts = self.vectors.split(_MEASURED_ROWS)
        squares = [float(part.to(torch.float32).square().sum(dim=1).max()) for part in parts if len(part)]
        return math.sqrt(max(squares, default=0.0))

    @property
    def mean_length(self) -> float:
        """Vectors of an item, on average."""
        return len(self.vectors) / max(len(self), 1)

    def at(self, places: torch.Tensor) -> torch.Tensor:
        """The token vectors at ``places`` int64 [q] -> float32 [q, d], on the device; nothing waits for it."""
        return (self.vectors[places].to(torch.float32) * self.steps)[:, : self.dim]

    def decode(self, rows: NDArray[np.int64] | None = None) -> Ragged:
        """What the items of ``rows`` (None: all) stand for, float64 in host memory: what a reference should score."""
        offsets = self.offsets.cpu().numpy()
        if rows is None:
            whole = self._decoded(self.vectors)
            return Ragged(whole, offsets)
        places = [np.arange(offsets[row], offsets[row + 1]) for row in rows.tolist()]
        ends = np.concatenate([[0], np.cumsum([len(place) for place in places])]).astype(np.int64)
        chosen = torch.from_numpy(np.concatenate([np.empty(0, dtype=np.int64), *places])).to(self.vectors.device)
        return Ragged(self._decoded(self.vectors[chosen]), ends)

    def _decoded(self, vectors: torch.Tensor) -> NDArray[np.float64]:
        exact = vectors.to(torch.float64) * self.steps.to(torch.float64)
        decoded: NDArray[np.float64] = exact[:, : self.dim].cpu().numpy()
        return decoded


def _exact(items: ItemVectors) -> tuple[NDArray[np.generic], NDArray[np.float32]]:
    """The stored numbers [T, d], and the steps [d] by which they are multiplied."""
    if isinstance(items, SteppedVectors):
        codes = items.codes if items.code_type == np.int8 else items.codes.astype(np.float16)
        return np.ascontiguousarray(codes), items.scale
    if isinstance(items, CompactVectors):
        whole = np.rint(items.decode().vectors * COMPACT_PEAK).astype(np.float16)
        return whole, np.full(items.dim, 1 / COMPACT_PEAK, dtype=np.float32)
    if isinstance(items, FloatVectors):
        return np.ascontiguousarray(items.vectors), np.ones(items.dim, dtype=np.float32)
    raise TypeError(f"item vectors of an unknown class {type(items).__name__}")


def _rounded(vectors: Ragged, storage: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Numbers up to the largest of a storage's type, a step a dimension: as ``SteppedVectors.quantise``."""
    _, peak = STORAGE[storage]
    largest = np.abs(vectors.vectors).max(axis=0, initial=0).astype(np.float32)
    steps = np.where(largest > 0, largest / np.float32(peak), np.float32(1))
    numbers = vectors.vectors / steps
    return (np.rint(numbers) if storage == "int8" else numbers).astype(np.float32), steps
