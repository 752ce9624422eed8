"""The tests of what runs on a GPU, run on the GPU by pytest in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

from tesserank.paths import CHECKOUT

TESTS = CHECKOUT / "tests" / "gpu"
# Without the plugins and settings of pyproject.toml: the machine's own pytest runs them.
SETTINGS = CHECKOUT / "benchmarks" / "gpu-pytest.ini"


def run(report: Path, tests: Path = TESTS, settings: Path = SETTINGS) -> dict[str, int]:
    """Run them, their output on ours -> how many ``tests``, and of them ``failures``, ``errors``, ``skipped``."""
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    options = ["-c", str(settings), f"--rootdir={CHECKOUT}", f"--junitxml={report}"]
    if find_spec("xdist") is not None:  # most of the time goes into compiling kernels, on one core each
        options += ["-n", "8"]
    command = [sys.executable, "-m", "pytest", *options, str(tests)]
    subprocess.run(command, cwd=CHECKOUT, env=environment(), check=False)
    return counts(report)


def environment() -> dict[str, str]:
    """Ours, with the checkout's packages on the path, installed or not."""
    packages = ("benchmarks", "export", "client")
    paths = [str(CHECKOUT), *(str(CHECKOUT / name) for name in packages), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def counts(report: Path) -> dict[str, int]:
    """What a report of pytest counts; without one, pytest itself failed: an error."""
    if not report.is_file():
        return {"tests": 0, "failures": 0, "errors": 1, "skipped": 0}
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    return {
        name: sum(int(suite.attrib[name]) for suite in suites) for name in ("tests", "failures", "errors", "skipped")
    }
