"""Fusing a traced graph's operators for ONNX Runtime, where that leaves its answers what they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime.transformers.optimizer import optimize_model

from tesserank.encoding.engine import OnnxEngine
from tesserank_export.checkpoint import first_line

# Relative to the largest hidden state. Fusion reorders sums of float32, which was seen to move it by 2e-6.
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Probe:
    """Ids and mask, int64 [rows, L], and what the checkpoint says to them, float32 [rows, L, hidden]."""

    ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    hidden: NDArray[np.float32]


@dataclass(frozen=True)
class Fusion:
    """How often each fused operator stands in the graph; ``refused``: why the graph was left as traced, or None."""

    operators: Mapping[str, int]
    refused: str | None = None


def fuse(raw: Path, path: Path, config: Any, probes: Sequence[Probe]) -> Fusion:
    """Write the fused form of ``raw`` to ``path``, or ``raw`` itself if its operators fuse wrongly or not at all.

    Consumes ``raw``. ``config``: the backbone's, for the number of heads and the hidden size.
    """
    try:
        fused = optimize_model(
            str(raw),
            model_type="bert",  # the family whose patterns cover the most: attention, GELU, layer normalisation
            num_heads=getattr(config, "num_attention_heads", 0),
            hidden_size=config.hidden_size,
            opt_level=0,
        )
        fused.save_model_to_file(str(path))
        error = largest_error(path, probes)
    except Exception as failure:  # the optimiser matches patterns, and a graph it does not know ends it anywhere
        raw.replace(path)
        return Fusion({}, first_line(failure))
    if not error <= _TOLERANCE:
        raw.replace(path)
        return Fusion({}, f"fused, it differs from the checkpoint by {error:.1e} of the largest hidden state")
    raw.unlink()
    return Fusion({name: count for name, count in fused.get_fused_operator_statistics().items() if count})


def largest_error(path: Path, probes: Sequence[Probe]) -> float:
    """The largest difference between a graph's hidden states and the checkpoint's, padding left out, by their size."""
    engine = OnnxEngine(path, threads=1)
    errors = []
    for probe in probes:
        real = probe.mask == 1
        difference = np.abs(engine(probe.ids, probe.mask) - probe.hidden)[real].max()
        errors.append(difference / np.abs(probe.hidden[real]).max())
    return float(np.max(errors))
