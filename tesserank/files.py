"""Writing so that a reader sees the old file or the new one, never half of one; and hashing what was written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tesserank.errors import ArtifactError


@contextmanager
def new_directory(target: Path) -> Iterator[Path]:
    """A scratch directory beside ``target`` that becomes it when the block ends, and vanishes if it fails.

    A ``target`` that exists is replaced by two renames: between them it is absent for an instant.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.{os.getpid()}.", dir=target.parent))
    try:
        yield scratch
        scratch.chmod(0o755)  # mkdtemp's 0700 would lock out a server that runs as another user
        _replace_directory(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _sweep(target: Path) -> None:
    """Remove what a killed process left beside ``target``: scratch directories carry their maker's process id.

    Only while ``target`` stands: a process killed between two renames has left the old one aside.
    """
    for leftover in target.parent.glob(f".{target.name}.*.*") if target.exists() else ():
        pid = leftover.name[len(target.name) + 2 :].split(".")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(leftover, ignore_errors=True)


def _replace_directory(scratch: Path, target: Path) -> None:
    if target.exists():  # rename(2) replaces only an empty directory: step aside, and only then remove
        retired = Path(tempfile.mkdtemp(prefix=f".{target.name}.{os.getpid()}.", dir=target.parent))
        os.replace(target, retired)
        try:
            os.replace(scratch, target)
        except OSError:
            os.replace(retired, target)
            raise
        shutil.rmtree(retired)
    else:
        os.replace(scratch, target)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, sorted and indented, in one atomic step."""
    scratch = path.with_name(f".{path.name}.tmp")
    scratch.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(scratch, path)


def read_json(path: Path) -> Any:
    """Read JSON. Raises ArtifactError that names the file if it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror}): rebuild it with make export") from error
    except ValueError as error:
        raise ArtifactError(f"{path} is corrupt ({error}): rebuild it with make export") from error


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link a file, which costs no space and shares the page cache; copy it where links cannot go."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
