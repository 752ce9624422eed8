"""The stub server in a process of its own, and the load test on it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tesserank.cli import main


@contextmanager
def stub(*options: str) -> Iterator[str]:
    """The address of a stub server with these options, which ends with the context."""
    command = [sys.executable, "-m", "tesserank_loadtest.stub_server", *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        assert process.wait(20) == 0
        process.stdout.close()


def load(url: str, items: Path, out: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit status of ``tesserank loadtest`` on the address, and its result."""
    common = ["--grpc-url", url, "--workload", str(items), "--candidates", "10", "--out", str(out)]
    status = main(["loadtest", *common, *options])
    return status, json.loads((out / "result.json").read_text())
