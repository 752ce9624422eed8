"""Resumable steps: what a step made is kept under a hash of everything it was made from, and found there next time."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console

from tesserank.artifact.files import new_directory


@cache
def code_digest() -> str:
    """A hash of the code that steps run, so that a changed step does not find what its older self made."""
    import tesserank

    digest = hashlib.sha256()
    for package in (Path(__file__).parent, Path(tesserank.__file__).parent / "encoding"):
        for path in sorted(package.rglob("*.py")):
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

        A step that is interrupted or fails leaves nothing behind.
        """
        target = self._work / f"{name}-{digest_of([inputs, code_digest()])}"
        started = time.perf_counter()
        reused = target.is_dir()
        if not reused:
            self.say(f"{title} ...")
            with new_directory(target) as scratch:
                build(scratch)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
        if reused:
            self.say(f"{title}: kept from before")
        else:
            self.say(f"{title}: done in {time.perf_counter() - started:.1f} s")
        return target

    def say(self, line: str) -> None:
        """Print a line of progress."""
        self._console.print(f"  {line}", highlight=False, markup=False)
