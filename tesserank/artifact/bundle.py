"""Opening an artefact, or the parts of one that a model was given, for serving."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from tesserank.artifact.layout import Layout
from tesserank.encoding.template import Template
from tesserank.errors import ArtifactError
from tesserank.files import read_json, write_json
from tesserank.index import ItemIndex
from tesserank.segments.config import TEXT_SPACE, SegmentsConfig
from tesserank.segments.reader import load_segments


def open_segments(root: Path, index: ItemIndex) -> SegmentsConfig:
    """The artefact's segments file, less the spaces that its index was exported without (no events, say).

    Raises ConfigError if the file is not usable.
    """
    config = load_segments(Layout(root).segments).in_spaces(index.spaces)
    if TEXT_SPACE not in index.spaces:
        raise ArtifactError(f"index {index.index_id} has no text space: rebuild it with make export")
    return config


def save_template(template: Template, path: Path) -> None:
    """Write the special tokens and the longest input of an encoder."""
    write_json(path, asdict(template))


def open_template(root: Path) -> Template:
    """Read what ``save_template`` wrote. Raises ArtifactError if it is missing or corrupt."""
    path = Layout(root).template
    table = read_json(path)
    try:
        tokens = {key: tuple(table[key]) for key in ("prefix", "separator", "suffix")}
        return Template(**tokens, pad=table["pad"], max_tokens=table["max_tokens"])
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is corrupt ({error!r}): rebuild it with make export") from error
