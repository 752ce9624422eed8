"""kill -9 in the middle of an export: what was published stays, and the next export goes on where this one was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tesserank.artifact.layout import PARITY, PARTS
from tesserank.artifact.manifest import load_manifest
from tesserank.artifact.store import current_artifact
from tests.export.tiny import debris, make_items, make_options, run_export, write_items

ITEMS = 6000
SHARDS = 6  # of 1,024 items


def kill_when_it_says(arguments: list[str], sign: str) -> None:
    """Run a command, and kill it as soon as a line of its standard error ends with ``sign``."""
    child = subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert child.stderr is not None
    said = []
    with child.stderr:
        for line in child.stderr:
            said.append(line)
            if sign in line:
                os.kill(child.pid, signal.SIGKILL)
                break
    assert child.wait(timeout=30) == -signal.SIGKILL, "".join(said)


def test_a_killed_export_harms_nothing_and_the_next_goes_on_at_the_shard_it_was_in(bert: Path, tmp_path: Path) -> None:
    store = tmp_path / "artifacts" / "tiny"
    before = run_export(make_options(tmp_path, bert))[0]
    large = write_items(tmp_path / "large.jsonl", make_items(ITEMS))
    flags = ["--model", bert, "--catalog", large, "--dim", 16, "--precision", "int8", "--threads", 1]
    places = ["--artifacts", tmp_path / "artifacts", "--name", "tiny", "--model-repository", tmp_path / "repository"]
    command = [sys.executable, "-m", "tesserank", "export", *map(str, flags), *map(str, places)]

    kill_when_it_says(command, f"(1/{SHARDS}): done")

    assert current_artifact(store) == before
    load_manifest(before, (*PARTS, PARITY))
    assert not (tmp_path / "repository").exists()

    options = make_options(tmp_path, bert, catalog=large, precision="int8", threads=1)
    after, output = run_export(options)
    assert f"(1/{SHARDS}): kept from before" in output
    assert f"({SHARDS}/{SHARDS}): done" in output
    for step in ("tokenizer", "backbone → ONNX, fused", "projection to 16 dimensions", "cross-encoder (the baseline)"):
        assert f"{step}: kept from before" in output
    assert current_artifact(store) == after != before
    for artifact in (before, after):
        load_manifest(artifact, (*PARTS, PARITY))
    assert debris(tmp_path) == []
