"""The artefact that is evaluated, exported without what it will be asked for, in a process of its own.

``tesserank export`` keeps its steps by the hash of what they were made from, so that exporting again takes seconds, and
exporting for another protocol encodes no text anew.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tesserank.artifact.manifest import load_manifest
from tesserank.artifact.store import current_artifact
from tesserank.errors import ArtifactError
from tesserank.paths import ARTIFACTS, BUILD
from tesserank_evaluation.artifact import HeldOutArtifact, Model, open_held_out
from tesserank_evaluation.split import Cases, sound_digests
from tesserank_export.catalog import Catalog
from tesserank_export.cli import add_build_arguments
from tesserank_export.events import Events

REPOSITORIES = BUILD / "evaluation"  # not build/model_repository: that one may be being served


def add_artifact_arguments(parser: argparse.ArgumentParser) -> None:
    """Which artefact: one that there is, or what an export of it needs."""
    parser.add_argument(
        "--artifact", type=Path, metavar="DIR", help="take this one, exported with --hold-out (default: export one)"
    )
    exported = parser.add_argument_group("the export, where no --artifact is given")
    add_build_arguments(exported)  # type: ignore[arg-type]
    exported.add_argument("--fit", action="store_true", help="fit it on what the protocol keeps: see docs/fit.md")
    exported.add_argument("--name", default="evaluation", help="of the artefacts, NAME-PROTOCOL (%(default)s)")
    exported.add_argument("--artifacts", type=Path, default=ARTIFACTS, help="(%(default)s)")


def held_out_artifact(args: argparse.Namespace, cases: Cases, catalog: Catalog, events: Events) -> HeldOutArtifact:
    """The artefact for a protocol, exported if need be. Raises ArtifactError as ``open_held_out``."""
    root = args.artifact or export_held_out(args, cases.protocol)
    remedy = f"export one with {export_command(args, cases.protocol)}"
    return open_held_out(root, catalog, sound_digests(events, args.seed, cases.protocol), remedy)


def model_of(args: argparse.Namespace) -> Model:
    """The checkpoint of what ``held_out_artifact`` returns, known before it exports anything.

    Raises ArtifactError for an --artifact that cannot be read, ConfigError for a --model that there is not.
    """
    if args.artifact:
        return Model.of(load_manifest(args.artifact, ()))
    from tesserank_export.checkpoint import resolve_checkpoint  # torch loads slowly

    return Model.in_checkpoint(resolve_checkpoint(args.model))


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
    """The arguments of ``tesserank`` that export, or fit, what ``tesserank evaluate`` was asked to evaluate."""
    name = name_of(args, protocol)
    own = {"hold_out": protocol, "name": name, "model_repository": REPOSITORIES / name}
    return ["fit" if args.fit else "export", *_typed(_named(args) | own)]


def finetune_command(args: argparse.Namespace, protocol: str) -> str:
    """What fine-tunes a cross-encoder for ``tesserank evaluate`` as it was asked, for the artefact that it asks."""
    own = {"protocol": protocol, "name": args.name, "artifact": args.artifact, "trained": args.trained}
    fit = ["--fit"] if args.fit else []
    return shlex.join(["python", "-m", "tesserank_bench.finetune", *_typed(_named(args) | own), *fit])


def _named(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "catalog": args.catalog,
        "events": args.events,
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
    }


def _typed(named: Mapping[str, Any]) -> list[str]:
    """Options as they are typed, without those that are None."""
    typed = [(f"--{key.replace('_', '-')}", str(value)) for key, value in named.items() if value is not None]
    return [part for pair in typed for part in pair]


def name_of(args: argparse.Namespace, protocol: str) -> str:
    """The store of the artefact that ``tesserank evaluate`` exports, or fits, for a protocol."""
    return f"{args.name}-fit-{protocol}" if args.fit else f"{args.name}-{protocol}"
