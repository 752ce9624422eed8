"""Finds a tritonserver on this machine, and checks before its launch what it would fail on later and less clearly."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tesserank.errors import ServerError
from tesserank.server.report import StageReport, Status

WHEEL = "nvidia-pytriton"
CONTAINER_TRITONSERVER = Path("/opt/tritonserver/bin/tritonserver")
MINIMUM_GLIBC = (2, 35)  # what the wheel's binary was linked against
PYTHON_VERSIONS = ((3, 10), (3, 11), (3, 12))  # numpy 1.26 is the last below 2, and has no wheels for later ones
SHARED_MEMORY = Path("/dev/shm")
MINIMUM_SHARED_MEMORY = 16 << 20  # bytes; a Python model instance takes 1 MiB at the very least, a request more


@dataclass(frozen=True)
class Installation:
    """A tritonserver. ``embedded`` is the one inside the wheel, which needs its libraries and backends laid out."""

    executable: Path
    embedded: bool

    @property
    def root(self) -> Path:
        """The folder that holds bin/, backends/ and caches/."""
        return self.executable.parent.parent

    @property
    def caches(self) -> Path:
        """Where implementations of the response cache lie."""
        return self.root / "caches"

    @property
    def libraries(self) -> Path:
        """Shared libraries of the wheel (meaningless for another installation)."""
        return self.root.parent.parent / "nvidia_pytriton.libs"

    @property
    def stub(self) -> Path:
        """The wheel's embedded interpreter for the running version of Python."""
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return self.root / "python_backend_stubs" / version / "triton_python_backend_stub"


def find_installation(tritonserver: Path | None = None) -> Installation:
    """The given tritonserver; else the wheel's; else the one on PATH; else the one of NVIDIA's containers.

    Raises ServerError when the given one cannot be executed, or when there is none.
    """
    wheel = _wheel_executable()
    if tritonserver is not None:
        resolved = shutil.which(str(tritonserver))
        if resolved is None:
            raise ServerError(f"--tritonserver {tritonserver} is not an executable file")
        return _installation(Path(resolved), wheel)
    found = shutil.which("tritonserver")
    for candidate in (wheel, Path(found) if found else None, CONTAINER_TRITONSERVER):
        if candidate is not None and os.access(candidate, os.X_OK):
            return _installation(candidate, wheel)
    raise ServerError(
        f"no tritonserver: {WHEEL} is not installed, none is on PATH and there is no {CONTAINER_TRITONSERVER}: "
        f"install one with pip install 'tesserank[serve]', or name one with --tritonserver"
    )


def check_environment(installation: Installation) -> None:
    """Raises ServerError naming every obstacle, with its value and its remedy."""
    broken = [report for report in diagnose_environment(installation) if not report.healthy]
    if broken:
        raise ServerError("\n".join(str(report) for report in broken))


def diagnose_environment(installation: Installation) -> list[StageReport]:
    """One report a check. The checks of the wheel's own needs are left out for another installation."""
    checks: list[Callable[[], StageReport]] = [_check_python, _check_numpy, _check_package, _check_shared_memory]
    if installation.embedded:
        checks += [_check_glibc, lambda: _check_stub(installation), _check_python_library, _check_python3]
    return [check() for check in checks]


def shared_memory_free() -> int:
    """Bytes free in /dev/shm, where Triton and its Python models exchange tensors; 0 when there is none."""
    return shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else 0


def python_library() -> Path | None:
    """The shared library of the running interpreter, by which the stub embeds it; None when this machine has none."""
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    folders = [sysconfig.get_config_var("LIBDIR"), f"{sys.base_prefix}/lib", f"{sys.base_prefix}/lib64"]
    multiarch = sysconfig.get_config_var("MULTIARCH")
    if multiarch:
        folders += [f"{folder}/{multiarch}" for folder in folders if folder] + [f"/lib/{multiarch}"]
    for folder in filter(None, folders):
        if (path := Path(folder) / name).is_file():
            return path
    return None


def _installation(executable: Path, wheel: Path | None) -> Installation:
    executable = executable.resolve()
    return Installation(executable, embedded=wheel is not None and executable == wheel.resolve())


def _wheel_executable() -> Path | None:
    # find_spec of a top-level package locates it without running its code.
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        return None
    executable = Path(spec.origin).parent / "tritonserver" / "bin" / "tritonserver"
    return executable if executable.is_file() else None


def _report(stage: str, works: bool, detail: str, remedy: str) -> StageReport:
    return StageReport(stage, Status.OK if works else Status.BROKEN, detail, "" if works else remedy)


def _check_python() -> StageReport:
    return _report(
        "python",
        sys.version_info[:2] in PYTHON_VERSIONS,
        f"Python {platform.python_version()} at {sys.executable}",
        "use Python 3.10, 3.11 or 3.12",
    )


def _check_numpy() -> StageReport:
    # The metadata and not numpy.__version__: the stub will import what is installed, not what this process has loaded.
    try:
        version = importlib.metadata.version("numpy")
    except importlib.metadata.PackageNotFoundError:
        return _report("numpy", False, "numpy is not installed", "pip install 'numpy<2'")
    if version.startswith(("0.", "1.")):
        return _report("numpy", True, f"numpy {version}", "")
    detail = f"numpy {version} found; Triton's Python backend returns empty tensors with it, silently"
    return _report("numpy", False, detail, "pip install 'numpy<2'")


def _check_package() -> StageReport:
    # Isolated as the stub is: neither PYTHONPATH nor the current folder counts, so a bare checkout will not do.
    script = "import importlib.util as u; raise SystemExit(u.find_spec('tesserank') is None)"
    works = subprocess.run([sys.executable, "-I", "-c", script], check=False, timeout=30).returncode == 0
    detail = f"tesserank is {'' if works else 'not '}installed for {sys.executable}"
    return _report("package", works, detail, "pip install -e . in its checkout, or make setup")


def _check_glibc() -> StageReport:
    wanted = ".".join(map(str, MINIMUM_GLIBC))
    remedy = f"the server in {WHEEL} needs glibc {wanted} or later (Debian 12, Ubuntu 22.04)"
    try:
        name = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except ValueError:  # another C library does not know the question
        name = ""
    match = re.fullmatch(r"glibc (\d+)\.(\d+).*", name)
    works = match is not None and (int(match[1]), int(match[2])) >= MINIMUM_GLIBC
    return _report("glibc", works, name or "not glibc", remedy)


def _check_stub(installation: Installation) -> StageReport:
    stub = installation.stub
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return _report(
        "python stub",
        os.access(stub, os.X_OK),
        f"stub for Python {version} at {stub}" if stub.is_file() else f"no stub for Python {version} at {stub}",
        f"pip install --force-reinstall {WHEEL}==0.7.0, with Python 3.10, 3.11 or 3.12",
    )


def _check_python_library() -> StageReport:
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    remedy = (
        f"the stub embeds Python by that library: apt-get install libpython{sys.version_info.major}."
        f"{sys.version_info.minor} for the system's Python, PYTHON_CONFIGURE_OPTS=--enable-shared for one of pyenv's"
    )
    path = python_library()
    if path is None:
        return _report("python library", False, f"no {name} for {sys.executable}", remedy)
    # A library of another patch release finds this interpreter's extension modules and fails to load some of them.
    version = _library_version(path)
    detail = f"{path} is Python {version}"
    if version != platform.python_version():
        return _report("python library", False, f"{detail}, {sys.executable} is {platform.python_version()}", remedy)
    return _report("python library", True, detail, "")


def _library_version(path: Path) -> str:
    """The version of a libpython, asked in another process so that this one never holds two of them."""
    script = (
        "import ctypes, sys; f = ctypes.CDLL(sys.argv[1]).Py_GetVersion;"
        " f.restype = ctypes.c_char_p; print(f().decode().split()[0])"
    )
    command = [sys.executable, "-I", "-S", "-c", script, str(path)]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    return result.stdout.strip() or "of no version that it would tell"


def _check_python3() -> StageReport:
    # The stub finds its home, and with it the virtual environment, by looking up `python3` on PATH.
    python3 = Path(sys.executable).parent / "python3"
    works = python3.exists() and python3.samefile(sys.executable)
    return _report(
        "python3",
        works,
        f"{python3} is this interpreter" if works else f"{python3} is not {sys.executable}",
        "run from a virtual environment: make setup",
    )


def _check_shared_memory() -> StageReport:
    free = shared_memory_free()
    return _report(
        "shared memory",
        free >= MINIMUM_SHARED_MEMORY,
        f"{free >> 20} MiB free in {SHARED_MEMORY}, at least {MINIMUM_SHARED_MEMORY >> 20} MiB needed",
        "enlarge it (docker run --shm-size=1g) or remove what fills it",
    )
