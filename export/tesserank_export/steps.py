"""Resumable steps: what a step made is kept under a hash of everything it was made from, and found there next time."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console

from tesserank.artifact.manifest import list_files
from tesserank.errors import ArtifactError
from tesserank.files import new_directory, read_json, write_json

_CODE = ("artifact", "encoding", "index", "maxsim", "files.py", "protocol.py")  # of tesserank's own what steps run
_LIBRARIES = (
    *("tesserank", "torch", "transformers", "onnx", "onnxruntime", "numpy", "scipy", "scikit-learn", "gensim"),
    "faiss-cpu",
)
_RECORD = "files.json"  # in a step's directory: what it made, by content


@cache
def library_versions() -> dict[str, str]:
    """Versions of the libraries that steps run."""
    return {name: metadata.version(name) for name in _LIBRARIES}


@cache
def code_digest() -> str:
    """A hash of the code that steps run, so that a changed step does not find what its older self made."""
    digest = hashlib.sha256(json.dumps(library_versions()).encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    digest.update(digest_of_code(_CODE).encode())
    return digest.hexdigest()


@cache
def digest_of_code(names: tuple[str, ...]) -> str:
    """A hash of these modules and packages of tesserank: of what single steps run beside what all of them do."""
    import tesserank

    digest = hashlib.sha256()
    domain = Path(tesserank.__file__).parent
    for package in (domain / name for name in names):
        for path in sorted(package.rglob("*.py")) if package.is_dir() else [package]:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def digest_of(value: Any) -> str:
    """A short hash of anything JSON can say."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


class Steps:
    """Runs steps in order, each into a directory of its own under ``work``, and says what it is doing."""

    def __init__(self, work: Path, console: Console) -> None:
        self._work = work
        self._console = console
        self.seconds: dict[str, float] = {}

    def run(self, name: str, title: str, inputs: Any, build: Callable[[Path], None]) -> Path:
        """The directory that ``build`` filled for these inputs, now or in an earlier run.

        A step that is interrupted or fails leaves nothing behind. What was kept is checked by content before it is
        used again: artefacts are hard links to it, so that damage to one of them is damage to it.
        """
        target = self._work / f"{name}-{digest_of([inputs, code_digest()])}"
        started = time.perf_counter()
        reused = _is_whole(target)
        if not reused:
            self.say(f"{title} ..." if not target.exists() else f"{title}: what was kept is damaged, once more ...")
            with new_directory(target) as scratch:
                build(scratch)
                write_json(scratch / _RECORD, _content(scratch))
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
        if reused:
            os.utime(target)  # leftovers.swept removes what no export has used for a while
            self.say(f"{title}: kept from before")
        else:
            self.say(f"{title}: done in {time.perf_counter() - started:.1f} s")
        return target

    def say(self, line: str) -> None:
        """Print a line of progress."""
        self._console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)


def _content(directory: Path) -> dict[str, str]:
    return {name: entry.sha256 for name, entry in list_files(directory).items() if name != _RECORD}


def _is_whole(directory: Path) -> bool:
    try:
        recorded = read_json(directory / _RECORD)
    except ArtifactError:
        return False
    return bool(recorded == _content(directory))
