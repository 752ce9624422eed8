"""The transformers that are measured: the export's own, and shapes of others with random weights, for their cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OWN = "minilm"


@dataclass(frozen=True)
class Shape:
    """A family of ``transformers``, and the sizes that its configuration takes."""

    family: str
    sizes: Mapping[str, int]

    def config(self, vocabulary: int, positions: int) -> Any:
        """The configuration of a model that reads ``vocabulary`` token ids, in rows of up to ``positions``."""
        from transformers import AutoConfig  # here: the command's parser asks for names alone

        return AutoConfig.for_model(
            self.family, vocab_size=vocabulary, max_position_embeddings=positions, **dict(self.sizes)
        )


def _shape(family: str, hidden: int, layers: int, heads: int, intermediate: int) -> Shape:
    return Shape(
        family,
        {
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "intermediate_size": intermediate,
        },
    )


# Of a 7B, what comes before its language model head: 6.5 billion weights and the embedding of the vocabulary.
SHAPES = {
    "tiny": _shape("bert", 64, 2, 2, 128),
    "bert-base": _shape("bert", 768, 12, 12, 3072),
    "bert-large": _shape("bert", 1024, 24, 16, 4096),
    "7b": _shape("llama", 4096, 32, 32, 11008),
}
BACKBONES = (OWN, *SHAPES)
