"""Putting finished parts together as one artefact, and making it the current one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tesserank.artifact.layout import PARITY, PARTS, Layout
from tesserank.artifact.manifest import Manifest, list_files, load_manifest
from tesserank.artifact.store import publish
from tesserank.errors import ArtifactError
from tesserank.files import link_or_copy, new_directory, read_json, write_json
from tesserank_export.steps import digest_of


def publish_artifact(
    store: Path,
    parts: Sequence[Path],
    name: str,
    segments: str,
    precision: str,
    parity: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> Path:
    """Link ``parts`` (directories named as parts are), under an id that is the hash of their content, and publish.

    A part may lie in several directories, of different files each. ``segments`` is the text of the segments file.
    Returns the artefact's directory. What was held out is of the id too: it may leave every file as it is.
    """
    content: dict[str, dict[str, str]] = {}
    for part in parts:
        content.setdefault(part.name, {}).update({path: entry.sha256 for path, entry in list_files(part).items()})
    held_out = (provenance["events"] or {}).get("held_out")
    artifact_id = digest_of([content, segments, precision, *([held_out] if held_out else [])])
    target = store / artifact_id
    if _is_sound(target):  # replacing what may be served now would leave a moment without it
        publish(store, artifact_id)
        return target
    with new_directory(target) as scratch:
        for part in parts:
            for path in sorted(part.rglob("*")):
                if path.is_file():
                    link_or_copy(path, scratch / part.name / path.relative_to(part))
        layout = Layout(scratch)
        layout.segments.write_text(segments, encoding="utf-8")
        write_json(layout.parity, parity)
        Manifest(
            artifact_id=artifact_id,
            name=name,
            encoder_id=read_json(layout.encoder_meta)["encoder_id"],
            index_id=read_json(layout.index_meta)["index_id"],
            precision=precision,
            files=list_files(scratch),
            provenance=provenance,
        ).write(layout.manifest)
    publish(store, artifact_id)
    return target


def _is_sound(artifact: Path) -> bool:
    try:
        load_manifest(artifact, (*PARTS, PARITY))
    except ArtifactError:
        return False
    return True
