"""Kinds of item vectors, side by side: bytes of an item, agreement with float32 vectors, and the time of a ranking.

Catalogues are real ones (amazon_beauty and mlsmall), exported without each user's last event (minutes, kept); users are
those of their logs. Ctrl-C keeps what was measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from threadpoolctl import threadpool_limits

from tesserank.artifact.manifest import load_manifest
from tesserank.errors import DataError
from tesserank.maxsim import jit
from tesserank.paths import BUILD, CHECKOUT
from tesserank_bench.index import report
from tesserank_bench.index.material import Material
from tesserank_bench.index.measure import measure
from tesserank_bench.index.plan import DATASETS, FULL, QUICK, THREADS, Plan
from tesserank_bench.index.verdicts import verdicts
from tesserank_bench.latency import served
from tesserank_bench.real_input import choose_users, split_last
from tesserank_bench.results import QUICK_RESULTS, deliver
from tesserank_evaluation.conditions import Machine

NAME = "index-cpu"
WORK = BUILD / "bench" / "index"
EXPORTS = BUILD / "bench" / "latency"  # shared with the other benchmarks: an export takes minutes
SEGMENTS_FILE = CHECKOUT / "benchmarks" / "segments" / "index.toml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``tesserank bench index``."""
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="each with items.jsonl.gz and events.csv.gz (default: amazon_beauty and mlsmall in ../shared/data beside "
        "the checkout, those that are there; the first one with --quick)",
    )
    served.add_export_arguments(parser, precision="fp32")
    parser.add_argument("--work", type=Path, default=WORK, metavar="DIR", help="where logs are kept (%(default)s)")
    parser.add_argument(
        "--exports", type=Path, default=EXPORTS, metavar="DIR", help="where exports are kept (%(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Measure and save. Exit status 0, or 130 after Ctrl-C with an incomplete result."""
    console = Console(soft_wrap=True, highlight=False)
    plan = QUICK if args.quick else FULL
    datasets = find_datasets(args.data, served.DEFAULT_DATA.parent)
    if args.quick and args.data is None:
        datasets = datasets[:1]
    machine = Machine(args.seed, {"maxsim": THREADS, "blas": 1})
    result: dict[str, Any] = {"benchmark": "index", "quick": args.quick, "datasets": {}, "compiled": jit.available()}
    complete = True
    try:
        for dataset in datasets:
            _measure_dataset(args, plan, dataset, console, result)
    except KeyboardInterrupt:
        complete = False
        console.print("interrupted: what was measured so far is kept, as incomplete")
    result |= {"complete": complete, "conditions": machine.conditions()}
    result["targets"] = verdicts(result)
    report.show(console, result)
    if not complete and args.out is None:
        args.out = QUICK_RESULTS / f"{NAME}.json"  # the record is kept
    deliver(args, NAME, result)
    return 0 if complete else 130


def find_datasets(named: Sequence[Path] | None, beside: Path) -> list[served.Dataset]:
    """The folders ``named``, else those of DATASETS that lie ``beside`` the checkout. Raises DataError if none do."""
    if named is not None:
        return [served.Dataset.within(folder, folder.name) for folder in named]
    found = [served.Dataset.within(beside / name, name) for name in DATASETS if (beside / name).is_dir()]
    if not found:
        raise DataError(f"neither {' nor '.join(DATASETS)} in {beside}: name folders of catalogues with --data")
    return found


def _measure_dataset(
    args: argparse.Namespace, plan: Plan, dataset: served.Dataset, console: Console, result: dict[str, Any]
) -> None:
    console.print(f"export of {dataset.name}: minutes if it is the first, and part of no figure")
    histories, train = split_last(dataset.events, args.work.resolve() / dataset.name)
    export = served.Settings(None, args.exports, args.precision, args.model, args.dim, args.seed)
    known = served.Dataset(dataset.name, dataset.items, train)
    artifact = served.export(known, [SEGMENTS_FILE], export)[SEGMENTS_FILE.stem].artifact
    material = Material.open(artifact, choose_users(histories, plan.users, args.seed), args.seed)
    manifest = load_manifest(artifact, ())
    text = material.vectors("text")
    entries: list[dict[str, Any]] = []
    result["datasets"][dataset.name] = {
        "artifact": manifest.artifact_id,
        "checkpoint": manifest.provenance["model"]["name"],
        "encoder_precision": manifest.precision,
        "items": len(material.exact),
        "tokens": len(text.vectors),
        "dim": text.vectors.shape[1],
        "users": len(material.users),
        "kinds": entries,
    }
    with threadpool_limits(1, "blas"):  # as in the server: items are spread over threads
        measure(material, plan, args.seed, console.print, entries)
