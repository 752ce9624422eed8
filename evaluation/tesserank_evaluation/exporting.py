"""The artefact that is evaluated, exported without what it will be asked for, in a process of its own.

``tesserank export`` keeps its steps by the hash of what they were made from, so that exporting again takes seconds, and
exporting for another protocol encodes no text anew.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from tesserank.artifact.store import current_artifact
from tesserank.errors import ArtifactError
from tesserank.paths import BUILD

REPOSITORIES = BUILD / "evaluation"  # not build/model_repository: that one may be being served


def export_held_out(args: argparse.Namespace, protocol: str) -> Path:
    """Run the export that ``export_arguments`` names; its directory. Raises ArtifactError if it fails."""
    done = subprocess.run([sys.executable, "-m", "tesserank", *export_arguments(args, protocol)], check=False)
    if done.returncode:
        raise ArtifactError(f"the export failed, as it says above: {export_command(args, protocol)}")
    return current_artifact(args.artifacts / name_of(args, protocol))


def export_command(args: argparse.Namespace, protocol: str) -> str:
    """The same as it is typed."""
    return shlex.join(["tesserank", *export_arguments(args, protocol)])


def export_arguments(args: argparse.Namespace, protocol: str) -> list[str]:
    """The arguments of ``tesserank`` that export for a protocol what ``tesserank evaluate`` was asked to evaluate."""
    name = name_of(args, protocol)
    named = {
        "catalog": args.catalog,
        "events": args.events,
        "hold_out": protocol,
        "name": name,
        "id_field": args.id_field,
        "text_field": args.text_field,
        "category_field": args.category_field,
        "user_field": args.user_field,
        "item_field": args.item_field,
        "timestamp_field": args.timestamp_field,
        "kind_field": args.kind_field,
        "unknown_items": args.unknown_items,
        "segments": args.segments,
        "model": args.model,
        "dim": args.dim,
        "collaborative_dim": args.collaborative_dim,
        "precision": args.precision,
        "threads": args.threads,
        "seed": args.seed,
        "artifacts": args.artifacts,
        "model_repository": REPOSITORIES / name,
    }
    typed = [(f"--{key.replace('_', '-')}", str(value)) for key, value in named.items() if value is not None]
    return ["export", *(part for pair in typed for part in pair)]


def name_of(args: argparse.Namespace, protocol: str) -> str:
    """The store of the artefact that ``tesserank evaluate`` exports for a protocol."""
    return f"{args.name}-{protocol}"
