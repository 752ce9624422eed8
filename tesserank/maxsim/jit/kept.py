"""Kernels that are compiled once a machine: what numba made of them is kept on disk, for the processes after.

Compiling takes seconds, which each process of a server, and each server, would pay again before it answers. numba's own
cache (``cache=True``) does not know a kernel again that is made of others, as those are numbered anew in every process;
and looks for changes in the file of the kernel alone. So a kernel is known here by what it is made of, and by the
source of the whole package.

Files lie where numba would put its own: in ``__pycache__`` beside the source, or, where that may not be written, in the
user's cache; or under NUMBA_CACHE_DIR. Where none can be written, every process compiles.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba import njit
from numba.core.caching import FunctionCache
from numba.core.serialize import dumps

import tesserank

_SUFFIX = ".kernel"


def kept(*made_of: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``njit(nogil=True)`` of a function that Python calls; what compiled code alone calls becomes part of its callers.

    ``made_of`` tells functions of the same name apart: compiled functions that it calls, and anything whose ``repr``
    is the same in every process.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        dispatcher: Any = njit(nogil=True)(function)
        name = "/".join(map(_name, (function, *made_of)))
        with suppress(RuntimeError):  # numba's, if there is no directory to write to
            dispatcher._cache = _Kept(function, name)
        kernel: Callable[..., Any] = dispatcher
        return kernel

    return decorate


class _Kept(FunctionCache):
    """What is kept of one kernel: a file for each signature and processor, named by all it depends on.

    numba's own has an index file, in which processes that write at the same time may take each other's numbers.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        self._kernel = name

    def _load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            reduced = pickle.loads(self._path(sig, target_context.codegen()).read_bytes())
        except (OSError, EOFError, pickle.UnpicklingError):
            return None
        return self._impl.rebuild(target_context, reduced)

    def _save_overload(self, sig: Any, data: Any) -> None:
        if not self._impl.check_cachable(data):
            return
        path = self._path(sig, data.codegen)
        with suppress(OSError):  # a full disk, say: the kernel runs all the same
            _write(path, dumps(self._impl.reduce(data)))  # type: ignore[no-untyped-call]
            _remove_outdated(path.parent)

    def _path(self, sig: Any, codegen: Any) -> Path:
        key = repr((self._kernel, [str(argument) for argument in sig], codegen.magic_tuple()))
        return Path(self.cache_path) / f"{_source()}-{hashlib.sha256(key.encode()).hexdigest()[:32]}{_SUFFIX}"


def _name(part: Any) -> str:
    return f"{part.__module__}.{part.__qualname__}" if callable(part) else repr(part)


@cache
def _source() -> str:
    """A hash of the package's source, and of the compiler and the Python that read it."""
    root = Path(tesserank.__file__).parent
    made_by = numba.__version__, llvmlite.__version__, sys.implementation.cache_tag
    digest = hashlib.sha256(repr(made_by).encode())
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


_source()  # now, as the modules are read: by the time a kernel is compiled, an editor may have changed them


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, whoever else writes the same."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _remove_outdated(directory: Path) -> None:
    """The directory is of one source file: kernels of another source of the package are of its past."""
    for path in directory.glob(f"*{_SUFFIX}"):
        if not path.name.startswith(_source()):
            path.unlink(missing_ok=True)
