"""Small arrays to device memory, in one copy that does not wait for the device; and back, in one that does."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_ALIGNED = 16  # bytes: what the kernels' loads are specialised for
_TYPES: dict[Any, torch.dtype] = {
    np.dtype(np.int64): torch.int64,
    np.dtype(np.int32): torch.int32,
    np.dtype(np.float32): torch.float32,
}
_DTYPES = {there: here for here, there in _TYPES.items()}


class Parcel:
    """Arrays that go to a device together: ``add`` them, ``send`` once, look up the tensors. Of types in _TYPES."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._arrays: list[NDArray[Any]] = []
        self._tensors: list[torch.Tensor] = []

    def add(self, *arrays: NDArray[Any]) -> slice:
        """What to look the arrays up by, when they have been sent."""
        first = len(self._arrays)
        self._arrays += arrays
        return slice(first, len(self._arrays))

    def send(self) -> None:
        """Copy all to the device, where they are views of one buffer."""
        begins, size = [], 0
        for array in self._arrays:
            begins.append(size)
            size += -(-array.nbytes // _ALIGNED) * _ALIGNED
        host = torch.empty(size, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        buffer = host.numpy()
        for begin, array in zip(begins, self._arrays, strict=True):
            buffer[begin : begin + array.nbytes].view(array.dtype)[:] = array.ravel()
        there = host.to(self._device, non_blocking=True)
        views = {dtype: there.view(own) for dtype, own in _TYPES.items()}
        for begin, array in zip(begins, self._arrays, strict=True):
            first = begin // array.itemsize
            flat = views[array.dtype][first : first + array.size]
            self._tensors.append(flat if array.ndim == 1 else flat.view(array.shape))

    def __getitem__(self, added: slice) -> list[torch.Tensor]:
        return self._tensors[added]


def upload(device: torch.device, *arrays: NDArray[Any]) -> list[torch.Tensor]:
    """The arrays as tensors on ``device``: views of one buffer."""
    parcel = Parcel(device)
    added = parcel.add(*arrays)
    parcel.send()
    return parcel[added]


def download(*tensors: torch.Tensor) -> list[NDArray[Any]]:
    """Tensors of one device as arrays, which may be written to: one copy, which waits for what computes them."""
    joined = torch.cat([tensor.contiguous().view(-1).view(torch.uint8) for tensor in tensors]).cpu().numpy()
    arrays, begin = [], 0
    for tensor in tensors:
        end = begin + tensor.numel() * tensor.element_size()
        arrays.append(joined[begin:end].view(_DTYPES[tensor.dtype]).reshape(tuple(tensor.shape)))
        begin = end
    return arrays
