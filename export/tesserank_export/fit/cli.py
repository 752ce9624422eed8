"""Fit what is cheap to learn from a log, without training the transformer, and export with it.

On users' last items, held out of everything that it learns from, it chooses the spaces that a history is scored in,
how each is learned and aggregated, and what it weighs. The artefact has the fitted segments file, and in its manifest
what every step bought. Takes the arguments of tesserank export.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from tesserank.artifact.layout import Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.tracking import add_tracking_argument, tracked
from tesserank_export import cli
from tesserank_export.fit.tracking import track_fit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``tesserank fit``."""
    cli.add_arguments(parser)
    parser.add_argument("--out", type=Path, metavar="FILE.toml", help="also write the fitted segments file there")
    add_tracking_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Fit, export, publish, assemble, and print the table."""
    with tracked(args.track, "fit") as tracker:
        artifact, export = cli.export_as(args, fit=True)
        if args.out:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Layout(artifact).segments, args.out)
        if export.fitted is not None:
            from tesserank_export.fit.record import markdown  # needs the extra export, as cli says where it is missing

            track_fit(tracker, load_manifest(artifact, ()), export.fitted)
            print(markdown(export.fitted))
    return 0
