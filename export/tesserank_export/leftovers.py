"""What a killed export leaves behind: scratch directories that nobody will finish."""

from __future__ import annotations

import fcntl
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = ".lock"
_SCRATCH = re.compile(r"\..+\.[a-z0-9_]{8}")  # as tesserank.artifact.files.new_directory names them


@contextmanager
def swept(work: Path, store: Path) -> Iterator[None]:
    """Remove the scratch directories in both places, unless an export that shares ``work`` is running now.

    Every export holds a shared lock on ``work`` while it runs; the kernel releases it however the process ends.
    """
    work.mkdir(parents=True, exist_ok=True)
    with (work / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # another export's scratch directories are no leftovers
        else:
            _sweep(work)
            _sweep(store)
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def _sweep(place: Path) -> None:
    if not place.is_dir():
        return
    for path in place.iterdir():
        if path.is_dir() and not path.is_symlink() and _SCRATCH.fullmatch(path.name):
            shutil.rmtree(path)
