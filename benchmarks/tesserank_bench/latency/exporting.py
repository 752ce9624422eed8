"""Exports one catalogue with several segments files; a program of its own, run by ``served.export``.

As ``tesserank export`` once for each file, but torch is loaded once, and never by the process that measures.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from tesserank.artifact.assemble import assemble
from tesserank.errors import TesserankError
from tesserank.paths import TRACKED_REPOSITORY
from tesserank_export.options import ExportOptions
from tesserank_export.pipeline import Export


def main() -> int:
    """Export; exit status 1 with the reason as the last line if that fails."""
    parser = argparse.ArgumentParser()
    for name in ("--catalog", "--events", "--work"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--precision", required=True)
    parser.add_argument("--model")
    parser.add_argument("--dim", type=int, required=True)
    parser.add_argument("--engine", action="append", default=[])
    parser.add_argument("--segments", type=Path, nargs="+", required=True)
    args = parser.parse_args()
    try:
        for segments in args.segments:
            export_one(args, segments)
    except TesserankError as error:
        print(f"error: {error}")
        return 1
    return 0


def export_one(args: argparse.Namespace, segments: Path) -> None:
    """One artefact and its model repository, where ``served.export`` looks for them."""
    options = ExportOptions(
        catalog=args.catalog,
        events=args.events,
        segments=segments,
        store=args.work / "artifacts" / segments.stem,
        work=args.work / "artifacts" / ".work",
        model=args.model,
        dim=args.dim,
        precision=args.precision,
        engines=tuple(args.engine),
    )
    artifact = Export(options, Console(soft_wrap=True)).run()
    assemble(TRACKED_REPOSITORY, artifact, args.work / "repositories" / segments.stem)


if __name__ == "__main__":
    sys.exit(main())
