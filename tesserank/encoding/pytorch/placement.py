"""Segments' vectors between a GPU's memory and pinned host memory."""

from __future__ import annotations

import torch


class PinnedPlacement:
    """Copies that nothing waits for: both directions are in the order of the device's stream, which is the only one
    to read them. On a CPU, its stand-in, host memory is not pinned.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def to_host(self, vectors: torch.Tensor) -> torch.Tensor:
        """A copy in pinned host memory."""
        held = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=self._device.type == "cuda")
        return held.copy_(vectors, non_blocking=True)

    def to_device(self, held: torch.Tensor) -> torch.Tensor:
        """A copy on the device."""
        return held.to(self._device, non_blocking=True, copy=True)
