"""MaxSim and the encoder against what this machine can do at most, and against what one would take instead.

One run measures, interleaved: matrix products in fp32, bf16 and int8 and the copying of memory, the ceilings; MaxSim
over segments, tokens, items and dimensions, checked against float64; ranking a real catalogue with torch, PyLate,
FastPlaid, LanceDB and faiss, their answers compared (make bench-peers installs them); the served encoder under load
against raw onnxruntime and sentence-transformers. Ctrl-C keeps what was measured.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console

from tesserank.errors import ConfigError
from tesserank.paths import BUILD
from tesserank.signals import sigterm_as_ctrl_c
from tesserank_bench.kernels import pictures, report
from tesserank_bench.kernels.plan import FULL, QUICK
from tesserank_bench.kernels.run import PARTS, Result, Settings, measure
from tesserank_bench.kernels.verdicts import verdicts
from tesserank_bench.kernels.workers import PEERS_PYTHON, removed_settings
from tesserank_bench.latency import served
from tesserank_bench.plots import PICTURES
from tesserank_bench.results import QUICK_RESULTS, deliver, result_path
from tesserank_evaluation.conditions import Machine

NAME = "kernels-cpu"
WORK = BUILD / "bench" / "kernels"
EXPORTS = BUILD / "bench" / "latency"  # shared with that benchmark: an export takes minutes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``tesserank bench kernels``."""
    served.add_data_argument(parser)
    served.add_export_arguments(parser, precision="fp32")
    parser.add_argument(
        "--part",
        choices=PARTS,
        action="append",
        help="measure only this; repeatable, not for the record (default: all)",
    )
    parser.add_argument(
        "--peers-python", type=Path, default=PEERS_PYTHON, metavar="PATH", help="of make bench-peers (%(default)s)"
    )
    parser.add_argument("--work", type=Path, default=WORK, metavar="DIR", help="for what is passed on (%(default)s)")
    parser.add_argument(
        "--exports", type=Path, default=EXPORTS, metavar="DIR", help="where they are kept (%(default)s)"
    )
    parser.add_argument("--plot", action="store_true", help="draw the picture of the result again, measure nothing")


def run(args: argparse.Namespace) -> int:
    """Measure, save, draw. Exit status 0, or 130 after Ctrl-C with an incomplete result."""
    console = Console(soft_wrap=True, highlight=False)
    if args.plot:
        return _draw_again(args, console)
    machine, result, parts = Machine(args.seed), Result(), args.part or PARTS
    export = served.Settings(args.data, args.exports, args.precision, args.model, args.dim, args.seed)
    settings = Settings(export, args.peers_python.absolute(), args.work.resolve())
    interrupted = False
    with sigterm_as_ctrl_c():
        try:
            measure(settings, QUICK if args.quick else FULL, parts, console.print, result)
        except KeyboardInterrupt:
            interrupted = True
            console.print("interrupted: what was measured so far is kept, as incomplete")
    complete = not interrupted and set(parts) == set(PARTS)
    result |= {"benchmark": "kernels", "quick": args.quick, "complete": complete, "conditions": machine.conditions()}
    result["conditions"]["settings_removed"] = removed_settings()
    result["targets"] = verdicts(result)
    report.show(console, result)
    if not complete and args.out is None:
        args.out = QUICK_RESULTS / f"{NAME}.json"  # the record is kept
    _draw(args, console, result)
    deliver(args, NAME, result)
    return 130 if interrupted else 0


def _draw(args: argparse.Namespace, console: Console, result: Result) -> None:
    """For the record into docs/img; beside the result otherwise."""
    for_the_record = result["complete"] and not args.quick and args.out is None
    folder = PICTURES if for_the_record else result_path(args, NAME).parent
    for path in pictures.draw(result, folder):
        console.print(f"drawn: {path}")


def _draw_again(args: argparse.Namespace, console: Console) -> int:
    path = result_path(args, NAME)
    if not path.is_file():
        raise ConfigError(f"no result at {path}: measure one with tesserank bench kernels")
    _draw(args, console, json.loads(path.read_text(encoding="utf-8")))
    return 0
