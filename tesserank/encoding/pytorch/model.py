"""What runs on the backbone: token vectors, or one score a row."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from typing import Any

import torch
from numpy.typing import NDArray


class Encoder(torch.nn.Module):  # type: ignore[misc]  # torch is not followed by the type checker
    """A backbone and what is made of its hidden states; ``position_offset`` is where the backbone's positions begin."""

    def __init__(self, backbone: Any, position_offset: int = 0) -> None:
        super().__init__()
        self.backbone = backbone
        self._position_offset = position_offset
        # A decoder's key-value cache has no place in an encoder.
        takes_cache = "use_cache" in inspect.signature(backbone.forward).parameters
        self._arguments = {"use_cache": False} if takes_cache else {}

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Ids and mask int64 [rows, L] -> what ``_of_padded`` makes of the hidden states."""
        outputs = self.backbone(input_ids=input_ids, attention_mask=attention_mask, **self._arguments)
        return self._of_padded(outputs.last_hidden_state)

    def packed(
        self, input_ids: torch.Tensor, positions: torch.Tensor, offsets: torch.Tensor, longest: int
    ) -> torch.Tensor:
        """Ids and positions int64 [T], offsets of R rows int64 [R + 1], no row above ``longest`` -> ``_of_packed``."""
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
        return self._of_packed(outputs.last_hidden_state[0], offsets)

    @abstractmethod
    def _of_padded(self, hidden: torch.Tensor) -> torch.Tensor:
        """Of hidden states [rows, L, hidden]."""

    @abstractmethod
    def _of_packed(self, hidden: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        """Of hidden states [T, hidden]."""


class SegmentEncoder(Encoder):
    """``normalise(hidden · weight + bias)``, in float32 whatever the backbone computes in: [..., d] of [..., hidden].

    ``weight`` float32 [hidden, d], ``bias`` float32 [d].
    """

    def __init__(self, backbone: Any, weight: NDArray[Any], bias: NDArray[Any], position_offset: int = 0) -> None:
        super().__init__(backbone, position_offset)
        self.weight = torch.nn.Parameter(torch.from_numpy(weight), requires_grad=False)
        self.bias = torch.nn.Parameter(torch.from_numpy(bias), requires_grad=False)

    def _of_padded(self, hidden: torch.Tensor) -> torch.Tensor:
        projected = hidden.float() @ self.weight + self.bias
        return torch.nn.functional.normalize(projected, dim=-1, eps=1e-12)

    def _of_packed(self, hidden: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        return self._of_padded(hidden)


class PairEncoder(Encoder):
    """A score a row, ``hidden · head`` of its first token: float32 [rows]. ``head`` float32 [hidden, 1]."""

    def __init__(self, backbone: Any, head: NDArray[Any], position_offset: int = 0) -> None:
        super().__init__(backbone, position_offset)
        self.head = torch.nn.Parameter(torch.from_numpy(head), requires_grad=False)

    def _of_padded(self, hidden: torch.Tensor) -> torch.Tensor:
        return self._scores(hidden[:, 0])

    def _of_packed(self, hidden: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        """Rows that are not there begin where the last one ends, which may be behind all tokens."""
        return self._scores(hidden[offsets[:-1].clamp(max=len(hidden) - 1)])

    def _scores(self, first: torch.Tensor) -> torch.Tensor:
        return (first.float() @ self.head)[:, 0]
