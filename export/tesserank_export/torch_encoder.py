"""The checkpoint in torch with its projection: what the exported graphs are compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from tesserank.encoding.template import Composed
from tesserank_export.checkpoint import Checkpoint
from tesserank_export.graph import Backbone
from tesserank_export.heads import Projection


def torch_encode(
    checkpoint: Checkpoint, projection: Projection, inputs: Sequence[Composed]
) -> list[NDArray[np.float32]]:
    """Token vectors of each input, float32 [n, d], one input at a time and without padding."""
    backbone = Backbone(checkpoint)
    weight, bias = torch.from_numpy(projection.weight), torch.from_numpy(projection.bias)
    vectors = []
    with torch.inference_mode(), _one_thread():
        for composed in inputs:
            ids = torch.from_numpy(composed.input_ids)[None]
            hidden = backbone(ids, torch.ones_like(ids))[0][torch.from_numpy(composed.kept)]
            vectors.append(torch.nn.functional.normalize(hidden @ weight + bias, dim=-1, eps=1e-12).numpy())
    return vectors


@contextmanager
def _one_thread() -> Iterator[None]:
    """Short texts gain nothing from more threads, which spin: on two busy cores, two took seven times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
