"""Small arrays to device memory, in one copy that does not wait for the device; and back, in one that does."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_ALIGNED = 16  # bytes: what the kernels' loads are specialised for


def upload(device: torch.device, *arrays: NDArray[Any]) -> tuple[torch.Tensor, ...]:
    """The arrays as tensors on ``device``: views of one buffer."""
    begins, size = [], 0
    for array in arrays:
        begins.append(size)
        size += -(-array.nbytes // _ALIGNED) * _ALIGNED
    host = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
    buffer = host.numpy()
    for begin, array in zip(begins, arrays, strict=True):
        buffer[begin : begin + array.nbytes] = np.frombuffer(np.ascontiguousarray(array), dtype=np.uint8)
    there = host.to(device, non_blocking=True)
    return tuple(
        there[begin : begin + array.nbytes].view(torch.from_numpy(array[:0]).dtype).view(array.shape)
        for begin, array in zip(begins, arrays, strict=True)
    )


def download(*tensors: torch.Tensor) -> tuple[NDArray[Any], ...]:
    """Tensors of one device as arrays, which may be written to: one copy, which waits for what computes them."""
    joined = torch.cat([tensor.contiguous().view(-1).view(torch.uint8) for tensor in tensors]).cpu().numpy()
    sizes = [tensor.numel() * tensor.element_size() for tensor in tensors]
    parts = np.split(joined, np.cumsum(sizes)[:-1])
    dtypes = [torch.empty(0, dtype=tensor.dtype).numpy().dtype for tensor in tensors]
    return tuple(
        np.frombuffer(bytearray(part), dtype=dtype).reshape(tuple(tensor.shape))
        for part, dtype, tensor in zip(parts, dtypes, tensors, strict=True)
    )
