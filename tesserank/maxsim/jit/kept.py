"""Kernels that are compiled once: what numba made of them is kept on disk, for the processes that start later.

Compiling takes seconds, which each process of a server, and each server, would pay again before it answers. numba's own
cache (``cache=True``) does not know a kernel again that is made of others, as those are numbered anew in every process;
and looks for changes in the file of the kernel alone. So a kernel is known here by what it is made of, and by the
source of the whole package.

Files lie where numba would put its own: in ``__pycache__`` beside the source, or, where that may not be written, in the
user's cache; or under NUMBA_CACHE_DIR. Where none can be written, every process compiles.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import pickle
import secrets
import sys
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba import config, njit
from numba.core.bytecode import FunctionIdentity
from numba.core.caching import FunctionCache
from numba.core.serialize import dumps

import tesserank

_SUFFIX = ".kernel"
_SETTINGS = ("OPT", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "DISABLE_INTEL_SVML")
_DIGEST_BYTES = hashlib.sha256().digest_size

# numba numbers the functions that it compiles, in every process from 1, and names them by it to the linker, which takes
# functions of one name for the same: of two kernels that two processes compiled, a third would run one with parts of
# the other (numba issue 10486). So every process begins at a number of its own.


def _number_anew() -> None:
    FunctionIdentity._unique_ids = itertools.count(secrets.randbits(62))


_number_anew()
os.register_at_fork(after_in_child=_number_anew)


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
    """What is kept of one kernel: a file for each signature, processor and settings of numba, named by all of these.

    numba's own has an index file, in which processes that write at the same time may take each other's numbers.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        self._kernel = name

    def _load_overload(self, sig: Any, target_context: Any) -> Any:
        content = _read(self._path(sig, target_context.codegen()))
        return None if content is None else self._impl.rebuild(target_context, pickle.loads(content))

    def _save_overload(self, sig: Any, data: Any) -> None:
        if not self._impl.check_cachable(data):
            return
        path = self._path(sig, data.codegen)
        with suppress(OSError):  # a full disk, say: the kernel runs all the same
            _write(path, dumps(self._impl.reduce(data)))  # type: ignore[no-untyped-call]
            _remove_outdated(path.parent)

    def _path(self, sig: Any, codegen: Any) -> Path:
        key = repr((self._kernel, [str(argument) for argument in sig], codegen.magic_tuple(), _settings()))
        return Path(self.cache_path) / f"{_compiler()}-{_source()}-{_short(key.encode(), 32)}{_SUFFIX}"


def _name(part: Any) -> str:
    return f"{part.__module__}.{part.__qualname__}" if callable(part) else repr(part)


def _short(content: bytes, length: int) -> str:
    return hashlib.sha256(content).hexdigest()[:length]


def _settings() -> list[str]:
    """What numba was told, by its variables or its file, that changes what it makes of a kernel."""
    return [f"{name}={getattr(config, name)}" for name in _SETTINGS]


@cache
def _compiler() -> str:
    """A hash of what compiles, and of the Python that reads the source."""
    return _short(repr((numba.__version__, llvmlite.__version__, sys.implementation.cache_tag)).encode(), 8)


@cache
def _source() -> str:
    """A hash of the package's source."""
    root = Path(tesserank.__file__).parent
    content = b""
    for path in sorted(root.rglob("*.py")):
        if path.is_file():  # an editor's lock is a link to nowhere
            content += f"{path.relative_to(root)}\0".encode() + path.read_bytes()
    return _short(content, 16)


_source()  # now, as the modules are read: by the time a kernel is compiled, an editor may have changed them


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, whoever else writes the same; for all users that may read what this one writes."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(hashlib.sha256(content).digest() + content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _read(path: Path) -> bytes | None:
    """What ``_write`` wrote; None if there is nothing, or something else, as after a power cut."""
    try:
        found = path.read_bytes()
    except OSError:
        return None
    digest, content = found[:_DIGEST_BYTES], found[_DIGEST_BYTES:]
    return content if hashlib.sha256(content).digest() == digest else None


def _remove_outdated(directory: Path) -> None:
    """The directory is of one folder of the package: what this compiler made of other source is of the folder's past.

    Unless two versions share it, as on one NUMBA_CACHE_DIR: then each compiles anew after the other did.
    """
    own = f"{_compiler()}-"
    for path in directory.glob(f"{own}*{_SUFFIX}*"):
        if not path.name.startswith(own + _source()):
            path.unlink(missing_ok=True)
