"""What an export leaves for this engine, and opening it: the checkpoint's files, the projection, and a few facts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from transformers import AutoModel
from transformers.utils import logging

from tesserank.artifact.layout import Layout
from tesserank.encoding.pytorch.attention import NAME
from tesserank.encoding.pytorch.model import Encoder, PairEncoder, SegmentEncoder
from tesserank.errors import ArtifactError
from tesserank.files import read_json, write_json

EncoderT = TypeVar("EncoderT", bound=Encoder)


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


def load_encoder(layout: Layout, facts: Facts, dtype: torch.dtype, packs: bool) -> SegmentEncoder:
    """The segment encoder, its backbone in ``dtype``; ``packs``: for ``packed``, else for padded rows.

    Raises ArtifactError if its files cannot be loaded.
    """
    with _as_artifact_error(layout):
        with np.load(layout.torch_projection) as saved:
            weight, bias = saved["weight"], saved["bias"]
        encoder = SegmentEncoder(_backbone(layout, dtype, packs), weight, bias, facts.position_offset)
    return _ready(encoder)


def load_pair_encoder(layout: Layout, facts: Facts, dtype: torch.dtype, packs: bool) -> PairEncoder:
    """The baseline's pair encoder, on the same backbone. Raises ArtifactError as ``load_encoder`` does."""
    with _as_artifact_error(layout):
        encoder = PairEncoder(_backbone(layout, dtype, packs), np.load(layout.torch_pair_head), facts.position_offset)
    return _ready(encoder)


def _backbone(layout: Layout, dtype: torch.dtype, packs: bool) -> Any:
    attention = {"attn_implementation": NAME} if packs else {}
    with without_progress_bars():
        backbone = AutoModel.from_pretrained(layout.torch_encoder, dtype=dtype, local_files_only=True, **attention)
    return backbone.get_encoder() if backbone.config.is_encoder_decoder else backbone


def _ready(encoder: EncoderT) -> EncoderT:
    encoder.eval().requires_grad_(False)
    return encoder


@contextmanager
def _as_artifact_error(layout: Layout) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # transformers and torch raise classes of their own for every kind of broken file
        raise ArtifactError(
            f"{layout.torch_encoder} cannot be loaded ({error}): rebuild it with make export"
        ) from error


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
