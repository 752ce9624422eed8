"""What an export leaves for this engine, and opening it: the checkpoint's files, the projection, and a few facts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np
import torch
from transformers import AutoModel
from transformers.utils import logging

from tesserank.artifact.layout import Layout
from tesserank.encoding.pytorch.attention import NAME
from tesserank.encoding.pytorch.model import SegmentEncoder
from tesserank.errors import ArtifactError
from tesserank.files import read_json, write_json


@dataclass(frozen=True)
class Facts:
    """``vocabulary``: ids are below it; ``max_tokens``: of a row; ``refused``: why rows cannot be packed, or None."""

    vocabulary: int
    max_tokens: int
    head_dim: int
    position_offset: int
    refused: str | None

    def write(self, layout: Layout) -> None:
        write_json(layout.torch_facts, asdict(self))

    @staticmethod
    def read(layout: Layout) -> Facts:
        """Raises ArtifactError naming the option that is missing if the artefact was exported without this engine."""
        if not layout.torch_facts.is_file():
            raise ArtifactError(
                f"{layout.torch_facts} is missing: the artefact was exported without the engine torch; "
                "export it anew with --engine torch"
            )
        try:
            return Facts(**read_json(layout.torch_facts))
        except TypeError as error:
            raise ArtifactError(f"{layout.torch_facts} is corrupt ({error}): rebuild it with make export") from error


def load(layout: Layout, facts: Facts, device: torch.device, dtype: torch.dtype, packs: bool) -> SegmentEncoder:
    """The encoder on a device, its backbone in ``dtype``; ``packs``: for ``packed``, else for padded rows.

    Raises ArtifactError if its files cannot be loaded.
    """
    try:
        attention = {"attn_implementation": NAME} if packs else {}
        with without_progress_bars():
            backbone = AutoModel.from_pretrained(layout.torch_encoder, dtype=dtype, local_files_only=True, **attention)
        if backbone.config.is_encoder_decoder:
            backbone = backbone.get_encoder()
        with np.load(layout.torch_projection) as saved:
            encoder = SegmentEncoder(backbone, saved["weight"], saved["bias"], facts.position_offset)
    except Exception as error:  # transformers and torch raise classes of their own for every kind of broken file
        raise ArtifactError(
            f"{layout.torch_encoder} cannot be loaded ({error}): rebuild it with make export"
        ) from error
    encoder.to(device).eval().requires_grad_(False)
    return encoder


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """transformers draws a bar for each load, across whatever else is printed."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
