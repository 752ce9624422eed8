"""Latency, side by side: late interaction and the cross-encoder it replaces, on one real Triton server.

One run measures, interleaved and on the same users and candidates: the cross-encoder in fp32 and int8; the history as
one long segment; five text segments of 32 tokens cold, warm and hot; item segments, without the encoder; the same work
in this process, without a server. Then many callers at once, the cache against none, padding, and histories that grow.

--device cuda measures another thing: late interaction and the cross-encoder both on the GPU, on the same backbone, for
100, 1,000 and 10,000 candidates.

Writes a JSON with every sample, and pictures. Ctrl-C keeps what was measured. docs/benchmarks.md explains the figures.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console

from tesserank.errors import ConfigError
from tesserank.paths import BUILD
from tesserank.signals import sigterm_as_ctrl_c
from tesserank_bench.latency import pictures, report, served
from tesserank_bench.latency.bench import Result
from tesserank_bench.latency.device import command as device
from tesserank_bench.latency.plan import FULL, QUICK
from tesserank_bench.latency.run import measure
from tesserank_bench.latency.served import Settings
from tesserank_bench.latency.verdicts import verdicts
from tesserank_bench.plots import PICTURES
from tesserank_bench.results import QUICK_RESULTS, deliver, result_path
from tesserank_evaluation.conditions import Machine

NAME = "latency-cpu"
WORK = BUILD / "bench" / "latency"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``tesserank bench latency``."""
    served.add_data_argument(parser)
    served.add_export_arguments(parser, precision="int8")
    parser.add_argument("--work", type=Path, default=WORK, metavar="DIR", help="where exports are kept (%(default)s)")
    parser.add_argument("--plot", action="store_true", help="draw the pictures of the result again, measure nothing")
    device.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, save, draw. Exit status 0, or 130 after Ctrl-C, with what was measured until then."""
    if args.device:
        return device.run(args)
    console = Console(soft_wrap=True, highlight=False)
    if args.plot:
        return _draw_again(args, console)
    machine = Machine(args.seed)
    result: Result = {"benchmark": "latency", "quick": args.quick, "complete": False}
    settings = Settings(args.data, args.work, args.precision, args.model, args.dim, args.seed)
    try:
        with sigterm_as_ctrl_c():
            measure(settings, QUICK if args.quick else FULL, console.print, result)
        result["complete"] = True
    except KeyboardInterrupt:
        console.print("interrupted")
    finally:  # also of an error: an hour's samples must not go with it
        if result.get("single"):
            result |= {"conditions": machine.conditions(), "targets": verdicts(result)}
            _conclude(args, console, result)
    return 0 if result["complete"] else 130


def _conclude(args: argparse.Namespace, console: Console, result: Result) -> None:
    """Show, draw and save; what is incomplete goes beside the quick results, never over one for the record."""
    report.show(console, result)
    if not result["complete"]:
        args.out = args.out or QUICK_RESULTS / f"{NAME}.incomplete.json"
    _draw(console, result, _pictures(args, result))
    deliver(args, NAME, result)


def _pictures(args: argparse.Namespace, result: Result) -> Path:
    """docs/img for the record; beside the result otherwise."""
    for_the_record = not result["quick"] and args.out is None
    return PICTURES if for_the_record else result_path(args, NAME).parent


def _draw(console: Console, result: Result, folder: Path) -> None:
    for path in pictures.draw(result, folder):
        console.print(f"drawn: {path}")


def _draw_again(args: argparse.Namespace, console: Console) -> int:
    path = result_path(args, NAME)
    if not path.is_file():
        raise ConfigError(f"no result at {path}: measure one with tesserank bench latency")
    result = json.loads(path.read_text(encoding="utf-8"))
    _draw(console, result, _pictures(args, result))
    return 0
