"""A whole catalogue of up to 100,000 items, searched pruned and exhaustively: latency side by side, and recall.

The catalogue is a real one (amazon_beauty) and copies of its texts with a few other words, encoded once and kept
(about ten minutes). Users are those of the real log. Both searches answer the same queries, interleaved. Ctrl-C keeps
what was measured.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console
from threadpoolctl import threadpool_limits

from tesserank.artifact.manifest import load_manifest
from tesserank.errors import ConfigError
from tesserank.maxsim import jit
from tesserank.paths import BUILD, CHECKOUT
from tesserank_bench.catalogue import pictures, report
from tesserank_bench.catalogue.material import Material
from tesserank_bench.catalogue.measure import Result, measure
from tesserank_bench.catalogue.plan import FULL, QUICK, THREADS
from tesserank_bench.catalogue.verdicts import verdicts
from tesserank_bench.latency import served
from tesserank_bench.plots import PICTURES
from tesserank_bench.results import QUICK_RESULTS, deliver, result_path
from tesserank_evaluation.conditions import Machine

NAME = "catalogue-cpu"
WORK = BUILD / "bench" / "catalogue"
EXPORTS = BUILD / "bench" / "latency"  # shared with the other benchmarks: an export takes minutes
SEGMENTS_FILE = CHECKOUT / "benchmarks" / "segments" / "latency-unquantised.toml"  # float vectors, as the encoder's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``tesserank bench catalogue``."""
    served.add_data_argument(parser)
    served.add_export_arguments(parser, precision="fp32")
    parser.add_argument("--work", type=Path, default=WORK, metavar="DIR", help="where copies are kept (%(default)s)")
    parser.add_argument(
        "--exports", type=Path, default=EXPORTS, metavar="DIR", help="where exports are kept (%(default)s)"
    )
    parser.add_argument("--plot", action="store_true", help="draw the picture of the result again, measure nothing")


def run(args: argparse.Namespace) -> int:
    """Measure, save, draw. Exit status 0, or 130 after Ctrl-C with an incomplete result."""
    console = Console(soft_wrap=True, highlight=False)
    if args.plot:
        return _draw_again(args, console)
    if not jit.available():
        raise ConfigError("numba or AVX2 is missing, and nothing is pruned without: pip install 'tesserank[bench]'")
    plan = QUICK if args.quick else FULL
    export = served.Settings(args.data, args.exports, args.precision, args.model, args.dim, args.seed)
    dataset = served.find_dataset(args.data, args.exports)
    console.print(f"export of {dataset.name}: minutes if it is the first, and part of no figure")
    artifact = served.export(dataset, [SEGMENTS_FILE], export)[SEGMENTS_FILE.stem].artifact
    material = Material(artifact, dataset, max(plan.items), args.work.resolve(), args.seed)
    material.build(console.print)
    machine, result = Machine(args.seed, {"search": THREADS, "blas": 1}), _setup(material, artifact, dataset)
    complete = True
    try:
        with threadpool_limits(1, "blas"):  # as in the server: items are spread over threads
            measure(material, plan, args.seed, console.print, result)
    except KeyboardInterrupt:
        complete = False
        console.print("interrupted: what was measured so far is kept, as incomplete")
    result |= {"benchmark": "catalogue", "quick": args.quick, "complete": complete, "conditions": machine.conditions()}
    result["targets"] = verdicts(result)
    report.show(console, result)
    if not complete and args.out is None:
        args.out = QUICK_RESULTS / f"{NAME}.json"  # the record is kept
    _draw(args, console, result)
    deliver(args, NAME, result)
    return 0 if complete else 130


def _setup(material: Material, artifact: Path, dataset: served.Dataset) -> Result:
    manifest = load_manifest(artifact, ())
    return {
        "setup": {
            "dataset": dataset.name,
            "artifact": manifest.artifact_id,
            "checkpoint": manifest.provenance["model"]["name"],
            "encoder_precision": manifest.precision,
            "real_items": manifest.provenance["catalog"]["items"],
            "items": len(material.index),
            "candidates": material.config.search.candidates,
            "vectors": {name: space.items.kind for name, space in material.index.spaces.items()},
        }
    }


def _draw(args: argparse.Namespace, console: Console, result: Result) -> None:
    """For the record into docs/img; beside the result otherwise."""
    for_the_record = result["complete"] and not args.quick and args.out is None
    folder = PICTURES if for_the_record else result_path(args, NAME).parent
    for path in pictures.draw(result, folder):
        console.print(f"drawn: {path}")


def _draw_again(args: argparse.Namespace, console: Console) -> int:
    path = result_path(args, NAME)
    if not path.is_file():
        raise ConfigError(f"no result at {path}: measure one with tesserank bench catalogue")
    _draw(args, console, json.loads(path.read_text(encoding="utf-8")))
    return 0
