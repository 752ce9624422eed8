"""What the engine torch serves: the checkpoint's files, what stands on it, and whether its rows can be packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tesserank.artifact.layout import Layout
from tesserank.encoding.pytorch.engine import TorchEngine
from tesserank.encoding.pytorch.files import Facts
from tesserank.encoding.template import Template
from tesserank_export.checkpoint import Checkpoint, first_line
from tesserank_export.heads import Projection

_TOLERANCE = 1e-4  # of components of unit vectors: float32 sums in another order were seen to move them by 1e-6
_UNTRIED = "not tried"


def write_torch_engine(
    checkpoint: Checkpoint,
    projection: Projection,
    pair_head: NDArray[np.float32],
    template: Template,
    layout: Layout,
) -> Facts:
    """Write the engine's files, and find out by trying whether rows can be packed."""
    layout.torch_encoder.mkdir(parents=True)
    checkpoint.copy_model(layout.torch_encoder)
    np.savez(layout.torch_projection, weight=projection.weight, bias=projection.bias)
    np.save(layout.torch_pair_head, pair_head)
    facts = Facts(
        vocabulary=checkpoint.vocabulary,
        max_tokens=template.max_tokens,
        head_dim=checkpoint.head_dim,
        position_offset=checkpoint.position_offset,
        refused=_UNTRIED,
    )
    facts.write(layout)
    rows = _rows(facts, template.pad)
    padded = _vectors(layout, rows)
    replace(facts, refused=None).write(layout)
    facts = replace(facts, refused=_why_not(layout, rows, padded))
    facts.write(layout)
    return facts


def _why_not(layout: Layout, rows: Sequence[NDArray[np.int64]], padded: list[NDArray[np.float32]]) -> str | None:
    """Why packed rows cannot be had, or None where they are what padded ones are."""
    try:
        packed = _vectors(layout, rows)
    except Exception as failure:  # whatever a family raises that takes no positions, or attends in a way of its own
        return first_line(failure)
    error = max(float(np.abs(a - b).max()) for a, b in zip(packed, padded, strict=True))
    return None if error <= _TOLERANCE else f"packed, components differ by up to {error:.1e}"


def _vectors(layout: Layout, rows: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
    engine = TorchEngine.open(layout, "cpu", "float32")
    return [vectors.numpy() for vectors in engine.encode_rows(rows)]


def _rows(facts: Facts, pad: int) -> list[NDArray[np.int64]]:
    """Of one token, a few, and as many as may be: together more than there are positions. None is ``pad``, by which
    some families count their positions.
    """
    longest = facts.max_tokens
    lengths = (1, min(3, longest), min(17, longest), longest, min(9, longest))
    rng = np.random.default_rng(0)
    return [(pad + rng.integers(1, facts.vocabulary, length)) % facts.vocabulary for length in lengths]
