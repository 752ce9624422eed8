"""Token vectors that lie in part in host memory and in part on a device, put together there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tesserank.maxsim.gpu.upload import upload


def joined(parts: Sequence[Any], device: torch.device | None = None) -> Any:
    """``parts``, float32 [q, d] each, one after the other.

    A tensor on ``device``, or on that of the parts that are tensors; an array if there is neither. Arrays go there in
    one copy.
    """
    there = device or next((part.device for part in parts if isinstance(part, torch.Tensor)), None)
    if there is None:
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
    arrays = [part for part in parts if not isinstance(part, torch.Tensor)]
    if len(arrays) == len(parts):
        return upload(there, np.concatenate(arrays))[0]
    uploaded = iter(upload(there, *arrays)) if arrays else iter(())
    tensors = [part.to(there) if isinstance(part, torch.Tensor) else next(uploaded) for part in parts]
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)
