"""Export a checkpoint and a catalogue into an artefact and a model repository."""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from tesserank.artifact.assemble import assemble
from tesserank.artifact.layout import PRECISIONS
from tesserank.errors import ConfigError
from tesserank.paths import ARTIFACTS, MODEL_REPOSITORY, TRACKED_REPOSITORY
from tesserank_export.catalog import CATEGORY_FIELD, Catalog, read_catalog
from tesserank_export.events import EventFields, Events, read_events
from tesserank_export.heldout import PROTOCOLS
from tesserank_export.options import ENGINES, PLAN_PRECISIONS, ExportOptions
from tesserank_export.parity import TOLERANCES, Tolerance

if TYPE_CHECKING:
    from tesserank_export.pipeline import Export


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``tesserank export``."""
    add_data_arguments(parser)
    parser.add_argument(
        "--hold-out", choices=PROTOCOLS, help="for tesserank evaluate: fit on what its protocol keeps of the log"
    )
    add_build_arguments(parser)
    parser.add_argument("--tolerance", action="append", default=[], metavar="PRECISION.NAME=VALUE", help="for parity")
    parser.add_argument("--threads", type=int, default=2, help="of ONNX Runtime (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="default", help="of the artefact: its versions lie there (%(default)s)")
    parser.add_argument("--artifacts", type=Path, default=ARTIFACTS, help="(%(default)s)")
    parser.add_argument("--model-repository", type=Path, default=MODEL_REPOSITORY, help="to assemble (%(default)s)")


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Where catalogue and log lie, and what their fields are called."""
    parser.add_argument("--catalog", type=Path, required=True, help="items: .jsonl, .csv or .parquet, also .gz")
    parser.add_argument("--id-field", default="item_id", help="the catalogue's field of ids (%(default)s)")
    parser.add_argument("--text-field", default="text", help="its field of texts; several: title,text (%(default)s)")
    parser.add_argument("--category-field", help=f"of categories; '' for none ({CATEGORY_FIELD}, if there is one)")
    parser.add_argument("--events", type=Path, help="event log, same formats; without one, no collaborative space")
    for name, default in vars(EventFields()).items():
        parser.add_argument(f"--{name}-field", default=default, help=f"the event log's field of {name}s (%(default)s)")
    parser.add_argument("--unknown-items", choices=("skip", "reject"), default="skip", help="events of unknown items")


def add_build_arguments(parser: argparse.ArgumentParser) -> None:
    """What is made of them."""
    parser.add_argument("--model", help="checkpoint: a directory or a hub id (default: all-MiniLM-L6-v2, installed)")
    parser.add_argument("--segments", type=Path, help="segments file (.toml): which segments, how cut, what weighs")
    parser.add_argument("--dim", type=int, default=128, help="dimensions of token vectors (%(default)s)")
    parser.add_argument("--collaborative-dim", type=int, default=128, help="of collaborative vectors (%(default)s)")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of the served encoder (%(default)s)")
    parser.add_argument(
        "--engine", action="append", default=[], choices=ENGINES, help="export the encoder for it too; may be repeated"
    )
    parser.add_argument(
        "--tensorrt-precision",
        choices=PLAN_PRECISIONS,
        default="fp16",
        help="of --engine tensorrt; fp8 is calibrated on texts of the catalogue (%(default)s)",
    )


def event_fields(args: argparse.Namespace) -> EventFields:
    """The names of the log's columns, as the options say."""
    return EventFields(args.user_field, args.item_field, args.timestamp_field, args.kind_field)


def read_log(args: argparse.Namespace) -> tuple[Catalog, Events]:
    """The catalogue and the log that the options of ``add_data_arguments`` name. Raises DataError."""
    catalog = read_catalog(args.catalog, args.id_field, args.text_field, args.category_field)
    return catalog, read_events(args.events, catalog, event_fields(args), args.unknown_items)


def run(args: argparse.Namespace) -> int:
    """Export, publish, and assemble the model repository."""
    export_as(args, fit=False)
    return 0


def export_as(args: argparse.Namespace, fit: bool) -> tuple[Path, Export]:
    """The same, fitted or as configured; the artefact and the export that made it."""
    console = Console(file=sys.stderr, soft_wrap=True)
    if not args.name or args.name.startswith(".") or Path(args.name).name != args.name:
        raise ConfigError(f"--name {args.name!r}: a folder's name is needed, as in --name beauty")
    options = ExportOptions(
        catalog=args.catalog,
        store=args.artifacts / args.name,
        work=args.artifacts / ".work",
        model=args.model,
        id_field=args.id_field,
        text_field=args.text_field,
        category_field=args.category_field,
        events=args.events,
        event_fields=event_fields(args),
        unknown_events=args.unknown_items,
        hold_out=args.hold_out,
        segments=args.segments,
        fit=fit,
        dim=args.dim,
        collaborative_dim=args.collaborative_dim,
        precision=args.precision,
        engines=tuple(dict.fromkeys(args.engine)),
        plan_precision=args.tensorrt_precision,
        threads=args.threads,
        seed=args.seed,
        tolerances=_tolerances(args.tolerance),
    )
    started = time.perf_counter()
    if not (TRACKED_REPOSITORY / "recommend" / "config.pbtxt").is_file():
        raise ConfigError(f"no models at {TRACKED_REPOSITORY}: export from a checkout, installed with pip install -e")
    export = _import_export()(options, console)
    artifact = export.run()
    assemble(TRACKED_REPOSITORY, artifact, args.model_repository)
    console.print(f"  artefact {artifact} and {args.model_repository}: {time.perf_counter() - started:.1f} s in all")
    return artifact, export


def _import_export() -> type[Export]:
    """Imported late: torch and transformers take seconds, and only this command needs them."""
    try:
        from tesserank_export.pipeline import Export
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"export needs {error.name}, which is not installed: pip install 'tesserank[export]'"
        ) from error
    return Export


def _tolerances(overrides: list[str]) -> dict[str, Tolerance]:
    tolerances = dict(TOLERANCES)
    for override in overrides:
        key, _, value = override.partition("=")
        precision, _, name = key.partition(".")
        if precision not in tolerances or name not in vars(tolerances[precision]):
            known = ", ".join(f"{p}.{n}" for p in tolerances for n in vars(tolerances[p]))
            raise ConfigError(f"--tolerance {override!r} names no tolerance: known are {known}")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if math.isnan(number):
            raise ConfigError(f"--tolerance {override!r}: {value!r} is not a number")
        tolerances[precision] = replace(tolerances[precision], **{name: number})
    return tolerances
