"""The network of SASRec.

Kang and McAuley, Self-attentive sequential recommendation, ICDM 2018. Trained with the full softmax over the catalogue
instead of one sampled negative: Klenitskiy and Vasilev, Turning dross into gold loss: is BERT4Rec really better than
SASRec?, RecSys 2023, where that alone lifts SASRec above BERT4Rec.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

INITIAL_STD = 0.02  # as in BERT: with unit-scale embeddings the tied softmax begins saturated


@dataclass(frozen=True)
class Recipe:
    """The network and how it is trained. ``length``: the newest items of a history that are read; ``rate``: Adam's.

    The defaults are Kang and McAuley's for sparse logs, but for more dimensions than their 50 and for one length for
    all logs, as short sequences cost what they are long.
    """

    dim: int = 128
    blocks: int = 2
    heads: int = 2
    dropout: float = 0.5
    length: int = 200
    rate: float = 1e-3


class SasRecNetwork(nn.Module):  # type: ignore[misc]  # torch is not followed by the type checker
    """Item rows, int64 [B, L], behind them -1 → what comes next after each, float32 [B, L, dim].

    Scores are inner products with the items' own embeddings: ``hidden @ network.items.weight[:n_items].T``.
    """

    def __init__(self, n_items: int, recipe: Recipe) -> None:
        super().__init__()
        self.n_items = n_items
        self.items = nn.Embedding(n_items + 1, recipe.dim, padding_idx=n_items)
        self.positions = nn.Embedding(recipe.length, recipe.dim)
        self.dropout = nn.Dropout(recipe.dropout)
        layer = nn.TransformerEncoderLayer(
            recipe.dim, recipe.heads, recipe.dim, recipe.dropout, activation="relu", batch_first=True, norm_first=True
        )
        norm = nn.LayerNorm(recipe.dim)
        self.blocks = nn.TransformerEncoder(layer, recipe.blocks, norm=norm, enable_nested_tensor=False)
        for embedding in (self.items, self.positions):
            nn.init.normal_(embedding.weight, std=INITIAL_STD)
        for block in self.blocks.layers:  # they come as copies of one another
            for parameter in block.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        # Padding stands behind, where causal attention does not look: it needs no mask of its own.
        length = rows.shape[1]
        used = (rows >= 0).sum(dim=1, keepdim=True)
        # The newest item has position 0 in every sequence, as where the padding stands in front.
        places = (used - 1 - torch.arange(length, device=rows.device)).clamp(min=0)
        items = self.items(torch.where(rows >= 0, rows, self.n_items))
        inputs = items * self.items.embedding_dim**0.5 + self.positions(places)
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=rows.device)
        hidden: torch.Tensor = self.blocks(self.dropout(inputs), mask=mask, is_causal=True)
        return hidden
