"""Lays out the wheel's Python backend as tritonserver expects it, and the environment in which its stubs find Python.

The stub is an embedded interpreter. Three things make it the running one, virtual environment and ``.pth`` files
included: its libpython is the first one found, ``python3`` on PATH is the environment's, and PYTHONHOME is unset.
PYTHONPATH is no way in: the stubs for Python 3.11 and later do not read it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tesserank.errors import ServerError
from tesserank.server.environment import Installation, python_library


def assemble_backends(installation: Installation, directory: Path) -> Path:
    """Fills ``directory`` with links to the wheel's backend and stub; returns what --backend-directory takes.

    Another installation has its backends laid out already: theirs is returned and nothing is written.
    """
    if not installation.embedded:
        return installation.root / "backends"
    backend = directory / "python"
    backend.mkdir(parents=True)
    source = installation.root / "backends" / "python"
    for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
        (backend / name).symlink_to(source / name)
    (backend / "triton_python_backend_stub").symlink_to(installation.stub)
    library = python_library()
    if library is None:
        raise ServerError(f"{sys.executable} has no shared library for the stub to embed")
    # A folder with this library alone: its own folder may hold others that would shadow the system's.
    libraries = directory / "libraries"
    libraries.mkdir()
    (libraries / library.name).symlink_to(library)
    return directory


def server_environment(installation: Installation, backends: Path) -> dict[str, str]:
    """The environment variables of a tritonserver whose stubs import what the running interpreter imports."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONHOME"}
    environment["PATH"] = _prepend(environment.get("PATH"), Path(sys.executable).parent)
    if installation.embedded:
        libraries = (installation.libraries, backends / "libraries")
        environment["LD_LIBRARY_PATH"] = _prepend(environment.get("LD_LIBRARY_PATH"), *libraries)
    return environment


def _prepend(existing: str | None, *paths: Path) -> str:
    return os.pathsep.join([*map(str, paths), *([existing] if existing else [])])
