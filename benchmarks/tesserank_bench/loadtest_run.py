"""``tesserank loadtest`` in a process of its own: gevent patches what it runs in, and stays out of the benchmark."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tesserank_bench.errors import BenchmarkError


def run_loadtest(arguments: Sequence[str], out: Path) -> dict[str, Any]:
    """The result of one run, whatever its verdicts. Raises BenchmarkError if it has none."""
    command = [sys.executable, "-m", "tesserank", "loadtest", *arguments, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not (out / "result.json").exists():
        raise BenchmarkError(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr}")
    result: dict[str, Any] = json.loads((out / "result.json").read_text(encoding="utf-8"))
    return result
