"""``make demo`` from end to end, as the child process that a user starts; and what it leaves behind when stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
# Steps are named by their content, so that these exports share what the other tests' exports made.
ARTIFACTS = ROOT / "build" / "test-artifacts"


@pytest.fixture
def demo() -> Iterator[subprocess.Popen[str]]:
    """The demo of one scenario, its output unbuffered."""
    command = [sys.executable, "-u", "-m", "examples.demo", "--scenario", "ecommerce", "--artifacts", str(ARTIFACTS)]
    environment = os.environ | {"COLUMNS": "160"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        yield process
        process.kill()


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """The demo's output up to the line that holds ``words``."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if words in line:
            return seen
    raise AssertionError(f"the demo ended without saying {words!r}:\n{seen}")


def test_the_demo_recommends_explains_and_compares(demo: subprocess.Popen[str]) -> None:
    output = read_until(demo, "servers stopped")
    assert demo.wait(timeout=30) == 0
    assert "recommend: top 5" in output
    assert "what each segment contributed" in output
    assert "history/collaborative:" in output
    assert "query/text" in output
    latencies = {
        kind: float(re.search(rf"{kind}[^│]*│ +([\d.,]+)", output)[1].replace(",", ""))  # type: ignore[index]
        for kind in ("cross_encoder", "recommend, cold", "recommend, warm", "recommend, hot")
    }
    # Not a benchmark: two orders of magnitude lie between them, one would show that something is not what it says.
    assert latencies["cross_encoder"] > 10 * max(latencies[kind] for kind in latencies if kind != "cross_encoder")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminate"])
def test_an_interrupted_demo_leaves_no_process(demo: subprocess.Popen[str], number: signal.Signals) -> None:
    read_until(demo, "Triton answers")
    family = psutil.Process(demo.pid).children(recursive=True)
    assert any("tritonserver" in process.name() for process in family)
    demo.send_signal(number)
    assert demo.wait(timeout=60) == 130
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
