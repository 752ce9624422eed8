"""Where results go and what they look like: one JSON a benchmark, with the raw samples of every figure in it."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from tesserank.paths import BUILD, CHECKOUT

RESULTS = CHECKOUT / "benchmarks" / "results"
QUICK_RESULTS = BUILD / "bench"


def result_path(args: argparse.Namespace, name: str) -> Path:
    """Where ``args`` (``--out``, ``--quick``) puts the result: a quick run never overwrites one for the record."""
    out: Path | None = args.out
    return out or (QUICK_RESULTS if args.quick else RESULTS) / f"{name}.json"


def save(path: Path, result: dict[str, Any]) -> None:
    """Write a result as JSON that diffs well: keys sorted, a list of numbers on one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1, sort_keys=True)
    # No string matches: within one, a line break is escaped.
    flat = re.sub(r"\[\n\s*([^][{}\"]*?)\n\s*\]", lambda found: f"[{' '.join(found[1].split())}]", text)
    path.write_text(flat + "\n", encoding="utf-8")


def deliver(args: argparse.Namespace, name: str, result: dict[str, Any]) -> Path:
    """Save a result where it belongs, and print it as the last line if ``--json`` asks for that."""
    path = result_path(args, name)
    save(path, result)
    print(f"written: {path}")
    if args.json:
        print(json.dumps(result, sort_keys=True))
    return path
