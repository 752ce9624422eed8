"""What exports leave behind: scratch directories of killed ones, and steps that none has used for a while."""

from __future__ import annotations

import fcntl
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KEPT_DAYS = 14
_LOCK = ".lock"
_SCRATCH = re.compile(r"\..+\.[a-z0-9_]{8}")  # as tesserank.files.new_directory names them


@contextmanager
def swept(work: Path, store: Path) -> Iterator[None]:
    """Remove scratch directories in both places and old steps, unless an export that shares ``work`` is running now.

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
            _prune(work)
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def _prune(work: Path) -> None:
    """Every change of code or data gives steps new names, so that old ones would pile up for ever."""
    oldest = time.time() - KEPT_DAYS * 86_400
    for path in work.iterdir():
        if path.is_dir() and not path.name.startswith(".") and path.stat().st_mtime < oldest:
            shutil.rmtree(path)


def _sweep(place: Path) -> None:
    if not place.is_dir():
        return
    for path in place.iterdir():
        if path.is_dir() and not path.is_symlink() and _SCRATCH.fullmatch(path.name):
            shutil.rmtree(path)
