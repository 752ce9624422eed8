"""The cross-encoder as PyTorch trains it: the backbone, and a score from the first token's hidden state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tesserank_export.checkpoint import Checkpoint
from tesserank_export.graph import Backbone
from tesserank_export.heads import random_pair_head


class CrossEncoder(torch.nn.Module):  # type: ignore[misc]  # torch is not followed by the type checker
    """Ids and mask, int64 [rows, L] → scores float32 [rows]; ``graph.write_cross_encoder`` has the same in ONNX."""

    def __init__(self, checkpoint: Checkpoint, seed: int) -> None:
        super().__init__()
        self.backbone = Backbone(checkpoint)
        head = random_pair_head(checkpoint.hidden_size, seed)
        self.pair_head = torch.nn.Parameter(torch.from_numpy(head))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = (self.backbone(input_ids, attention_mask)[:, 0] @ self.pair_head)[:, 0]
        return scores

    def save_backbone(self, folder: Path) -> None:
        """Write the backbone's configuration and weights, as a checkpoint has them, beside what ``folder`` holds."""
        self.backbone.model.save_pretrained(folder)

    def head(self) -> NDArray[np.float32]:
        """float32 [hidden, 1]."""
        head: NDArray[np.float32] = self.pair_head.detach().numpy()
        return head
