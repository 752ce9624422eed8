"""Bytes of an index on disk, as ``save_index`` writes it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from tesserank.index import ItemIndex, save_index
from tesserank.segments.config import TEXT_SPACE

# What text takes: its vectors with their weights and offsets; and the items' token ids and what each weighs, from which
# weights and cells of compact vectors are looked up where they are stored once a token id.
_TEXT = (TEXT_SPACE, "tokens", "token_weights.npy")


def bytes_of(index: ItemIndex) -> dict[str, int]:
    """Bytes by file, whole files with their headers; names as in the index's directory."""
    with TemporaryDirectory() as scratch:
        save_index(index, Path(scratch))
        return {
            path.relative_to(scratch).as_posix(): path.stat().st_size
            for path in sorted(Path(scratch).rglob("*"))
            if path.is_file()
        }


def text_bytes(files: dict[str, int]) -> int:
    """Those of the text space, with all that goes with it."""
    return sum(size for name, size in files.items() if name.split("/")[0] in _TEXT)
