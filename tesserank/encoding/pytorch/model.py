"""The segment encoder as a module: backbone, projection, rows of unit length."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from numpy.typing import NDArray


class SegmentEncoder(torch.nn.Module):  # type: ignore[misc]  # torch is not followed by the type checker
    """``normalise(hidden · weight + bias)``, in float32 whatever the backbone computes in.

    ``weight`` float32 [hidden, d], ``bias`` float32 [d]; ``position_offset`` is where the backbone's positions begin.
    """

    def __init__(self, backbone: Any, weight: NDArray[Any], bias: NDArray[Any], position_offset: int = 0) -> None:
        super().__init__()
        self.backbone = backbone
        self.weight = torch.nn.Parameter(torch.from_numpy(weight), requires_grad=False)
        self.bias = torch.nn.Parameter(torch.from_numpy(bias), requires_grad=False)
        self._position_offset = position_offset
        # A decoder's key-value cache has no place in an encoder.
        takes_cache = "use_cache" in inspect.signature(backbone.forward).parameters
        self._arguments = {"use_cache": False} if takes_cache else {}

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Ids and mask int64 [rows, L] -> float32 [rows, L, d]."""
        outputs = self.backbone(input_ids=input_ids, attention_mask=attention_mask, **self._arguments)
        return self._projected(outputs.last_hidden_state)

    def packed(
        self, input_ids: torch.Tensor, positions: torch.Tensor, offsets: torch.Tensor, longest: int
    ) -> torch.Tensor:
        """Ids and positions int64 [T], offsets of R rows int64 [R + 1], no row above ``longest`` -> float32 [T, d]."""
        ends = offsets.to(torch.int32)
        outputs = self.backbone(
            input_ids=input_ids[None],
            position_ids=positions[None] + self._position_offset,
            cu_seq_lens_q=ends,
            cu_seq_lens_k=ends,
            max_length_q=longest,
            max_length_k=longest,
            **self._arguments,
        )
        return self._projected(outputs.last_hidden_state[0])

    def _projected(self, hidden: torch.Tensor) -> torch.Tensor:
        projected = hidden.float() @ self.weight + self.bias
        return torch.nn.functional.normalize(projected, dim=-1, eps=1e-12)
