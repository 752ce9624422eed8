"""``tesserank bench latency --device``: which backbones, where they run, and where the result goes."""

from __future__ import annotations

import argparse

from rich.console import Console

from tesserank.encoding.engines import TORCH
from tesserank.encoding.providers import AUTO, CPU, CUDA
from tesserank.errors import ConfigError
from tesserank.signals import sigterm_as_ctrl_c
from tesserank_bench.gpu.command import describe, require_gpu
from tesserank_bench.latency.bench import Result
from tesserank_bench.latency.device import report
from tesserank_bench.latency.device.backbones import BACKBONES
from tesserank_bench.latency.device.plan import FULL, QUICK
from tesserank_bench.latency.device.repository import Placement
from tesserank_bench.latency.device.run import Choice, measure
from tesserank_bench.latency.device.verdicts import verdicts
from tesserank_bench.latency.served import Settings
from tesserank_bench.results import QUICK_RESULTS, deliver
from tesserank_evaluation.conditions import Machine

DEVICES = (CUDA, CPU)
NAMES = {CUDA: "gpu-latency", CPU: "device-latency-cpu"}
BACKBONES_ON = {CUDA: ("minilm", "bert-base", "bert-large", "7b"), CPU: ("tiny",)}
COMPILERS = {CUDA: "inductor", CPU: ""}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the device benchmark."""
    group = parser.add_argument_group("on a device, by the engine torch")
    group.add_argument("--device", choices=DEVICES, help="cuda: one NVIDIA GPU; cpu: the same, to see that it works")
    group.add_argument(
        "--backbone",
        action="append",
        choices=BACKBONES,
        help="a transformer of that shape, repeatable (default: minilm, bert-base, bert-large, 7b; tiny on cpu)",
    )
    group.add_argument(
        "--torch-compile",
        metavar="BACKEND",
        help="of torch.compile, for cross-encoder and encoder alike; '' is none (default: inductor; none on cpu)",
    )


def run(args: argparse.Namespace) -> int:
    """Measure and save. Exit status 0, or 130 after Ctrl-C, with what was measured until then.

    Raises ConfigError without a GPU where one is asked for.
    """
    if args.plot:
        raise ConfigError("--plot draws the result of tesserank bench latency without --device")
    console = Console(soft_wrap=True, highlight=False)
    result: Result = {"benchmark": "latency-device", "quick": args.quick, "complete": False}
    if args.device == CUDA:
        result["gpu"] = describe(require_gpu())
    machine = Machine(args.seed)
    try:
        with sigterm_as_ctrl_c():
            measure(choose(args), QUICK if args.quick else FULL, console.print, result)
        result["complete"] = True
    except KeyboardInterrupt:
        console.print("interrupted")
    finally:  # also of an error: what was measured before must not go with it
        if any(backbone.get("single") for backbone in result.get("backbones", {}).values()):
            judged = result["backbones"] if args.device == CUDA else {}  # the targets are a GPU's
            result |= {"conditions": machine.conditions(), "targets": verdicts(judged)}
            _conclude(args, console, result)
    return 0 if result["complete"] else 130


def choose(args: argparse.Namespace) -> Choice:
    """What the options ask for: on a GPU float16 for both sides, since that is what the targets speak of."""
    compiler = COMPILERS[args.device] if args.torch_compile is None else args.torch_compile
    return Choice(
        settings=Settings(args.data, args.work, args.precision, args.model, args.dim, args.seed, (TORCH,)),
        placement=Placement(args.device, "float16" if args.device == CUDA else AUTO, compiler),
        backbones=tuple(dict.fromkeys(args.backbone or BACKBONES_ON[args.device])),
    )


def _conclude(args: argparse.Namespace, console: Console, result: Result) -> None:
    """Show and save; what is incomplete, or of a CPU, never goes over a result for the record."""
    report.show(console, result)
    name = NAMES[args.device]
    if not result["complete"]:
        args.out = args.out or QUICK_RESULTS / f"{name}.incomplete.json"
    elif args.device == CPU:
        args.out = args.out or QUICK_RESULTS / f"{name}.json"
    deliver(args, name, result)
