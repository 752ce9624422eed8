"""The store: every version of an artefact side by side, and a pointer that moves in one step."""

from __future__ import annotations

import os
from pathlib import Path

from tesserank.artifact.layout import Layout
from tesserank.errors import ArtifactError

CURRENT = "current"


def current_artifact(store: Path) -> Path:
    """The directory of the current version. Raises ArtifactError if none was ever published."""
    pointer = store / CURRENT
    if not pointer.exists():
        raise ArtifactError(f"no artefact at {store}: make one with make export (or tesserank export)")
    return pointer.resolve()


def publish(store: Path, artifact_id: str) -> None:
    """Make a finished version the current one. Readers see the old pointer or the new one, never none."""
    if not Layout(store / artifact_id).is_valid():
        raise ArtifactError(f"artefact {artifact_id} in {store} is incomplete, so {CURRENT} stays as it is")
    scratch = store / f".{CURRENT}.tmp"
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(artifact_id)
    os.replace(scratch, store / CURRENT)
