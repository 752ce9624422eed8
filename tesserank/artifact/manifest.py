"""The manifest: what an artefact is made of, by content hash, and which parts belong together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tesserank.artifact.layout import ENCODER_PART, INDEX_PART, MANIFEST, SEGMENTS, Layout
from tesserank.errors import ArtifactError
from tesserank.files import read_json, sha256_file, write_json

FORMAT = 1
_REBUILD = "rebuild it with make export"


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and SHA-256 of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """An artefact's identity. ``provenance`` holds sources, settings, versions and tolerances, for people."""

    artifact_id: str
    name: str
    encoder_id: str
    index_id: str
    precision: str
    files: Mapping[str, FileEntry] = field(repr=False)
    provenance: Mapping[str, Any] = field(repr=False)
    format: int = FORMAT

    def write(self, path: Path) -> None:
        """Write to a file, atomically."""
        write_json(path, asdict(self))


def list_files(root: Path) -> dict[str, FileEntry]:
    """Every file under an artefact's root but the manifest, by its path relative to the root."""
    paths = sorted(path for path in root.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {str(path.relative_to(root)): FileEntry(path.stat().st_size, sha256_file(path)) for path in paths}


def load_manifest(root: Path, parts: Iterable[str]) -> Manifest:
    """Read the manifest under ``root`` and check the segments file and every file of ``parts`` against it.

    Raises ArtifactError if the manifest is missing or of another format, or if a file is missing, of another size or
    of other content, or if a part was made for another artefact.
    """
    table = read_json(root / MANIFEST)
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        found = table.get("format") if isinstance(table, dict) else table
        raise ArtifactError(f"{root / MANIFEST} has format {found}, this tesserank reads {FORMAT}: {_REBUILD}")
    try:
        files = {name: FileEntry(**entry) for name, entry in table.pop("files").items()}
        manifest = Manifest(files=files, **table)
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{root / MANIFEST} is corrupt ({error}): {_REBUILD}") from error
    parts = tuple(parts)
    for part in (SEGMENTS, *parts):
        _check_files(root, manifest, part)
    _check_parts_match(Layout(root), manifest, parts)
    return manifest


def _check_files(root: Path, manifest: Manifest, part: str) -> None:
    entries = {name: entry for name, entry in manifest.files.items() if name.split("/")[0] == part}
    if not entries:
        raise ArtifactError(f"artefact {manifest.artifact_id} has no part {part!r}: {_REBUILD}")
    for name, entry in entries.items():
        path = root / name
        if not path.is_file():
            raise ArtifactError(f"{path} is missing from artefact {manifest.artifact_id}: {_REBUILD}")
        size = path.stat().st_size
        if size != entry.bytes:
            raise ArtifactError(f"{path} has {size:,} bytes, its manifest says {entry.bytes:,}: {_REBUILD}")
        if (digest := sha256_file(path)) != entry.sha256:
            raise ArtifactError(
                f"{path} has SHA-256 {digest[:12]}, its manifest says {entry.sha256[:12]}: it is corrupt, {_REBUILD}"
            )


def _check_parts_match(layout: Layout, manifest: Manifest, parts: tuple[str, ...]) -> None:
    """A part says which encoder it belongs to, so that parts of two exports cannot be served together."""
    if ENCODER_PART in parts:
        found = read_json(layout.encoder_meta)["encoder_id"]
        if found != manifest.encoder_id:
            raise ArtifactError(f"encoder {found} lies in an artefact of encoder {manifest.encoder_id}: {_REBUILD}")
    if INDEX_PART in parts:
        found = read_json(layout.index_meta)["encoder_id"]
        if found != manifest.encoder_id:
            raise ArtifactError(
                f"index {manifest.index_id} was built with encoder {found}, "
                f"but this artefact's encoder is {manifest.encoder_id}: {_REBUILD}"
            )
