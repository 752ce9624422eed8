"""Which items the requests name: the ids of an index, or of a plain list."""

from __future__ import annotations

from pathlib import Path

from tesserank.artifact.assemble import ARTIFACT, VERSION
from tesserank.artifact.layout import Layout
from tesserank.errors import DataError
from tesserank.index import load_index

INDEXED_MODEL = "segment_embedder"


def read_item_ids(path: Path) -> tuple[str, ...]:
    """The ids that ``path`` holds: a model repository, an index directory, or a file of ids, one a line.

    Raises:
        DataError: There is nothing to read at ``path``, or no id, or one id twice.
        ArtifactError: The index is corrupt.
    """
    ids = load_index(_index_directory(path)).item_ids if path.is_dir() else tuple(read_lines(path, "item ids"))
    if not ids:
        raise DataError(f"{path} holds no item id: there is nothing to request")
    if len(set(ids)) < len(ids):
        raise DataError(f"{path} holds {len(ids):,} item ids, but only {len(set(ids)):,} different ones")
    return ids


def read_lines(path: Path, what: str) -> list[str]:
    """The lines of a UTF-8 text file that are not blank. Raises DataError when it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {what} from {path} ({error}): make export, or name another file") from error
    return [line.strip() for line in lines if line.strip()]


def _index_directory(path: Path) -> Path:
    """``path`` itself or, in a model repository, the index beside the model that reads it."""
    in_repository = path / INDEXED_MODEL / VERSION / ARTIFACT
    return Layout(in_repository).index if (path / INDEXED_MODEL).is_dir() else path
