"""Measure tesserank on this machine: each benchmark writes one JSON, with what it was measured on.

Every benchmark takes --quick (smaller, not for the record), --json (the result as the last line of standard output),
--seed N and --out FILE; tesserank bench NAME --help tells the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from tesserank.errors import ConfigError


@dataclass(frozen=True)
class Benchmark:
    """A module with ``add_arguments(parser)`` and ``run(args) -> exit status``, and what its name measures."""

    module: str
    help: str


BENCHMARKS = {
    "latency": Benchmark("tesserank_bench.latency.command", "recommend beside the cross-encoder, on a real server"),
    "kernels": Benchmark(
        "tesserank_bench.kernels.command", "MaxSim and the encoder against ceilings and other libraries"
    ),
    "catalogue": Benchmark("tesserank_bench.catalogue.command", "searching 100,000 items: pruned against exhaustive"),
    "index": Benchmark("tesserank_bench.index.command", "bytes of an item against agreement with fp32 vectors"),
    "case-study": Benchmark(
        "tesserank_bench.case_study.command",
        "the technique as first proposed: 1,000 users, 100,000 items, step by step",
    ),
    "ablation": Benchmark(
        "tesserank_bench.ablation.command", "what each part of the technique is worth: one change at a time, on a log"
    ),
    "gpu": Benchmark("tesserank_bench.gpu.command", "MaxSim on an NVIDIA GPU: ceilings, our kernels, other libraries"),
    "loadtest": Benchmark("tesserank_bench.loadtest", "what load one process of the load test can make"),
    "loadtest-cross-check": Benchmark(
        "tesserank_bench.cross_check.command", "the load test beside NVIDIA's perf_analyzer, on the same server"
    ),
    "real-input": Benchmark("tesserank_bench.real_input", "real catalogues: served rankings against the reference"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmarks as subcommands; the module of the one that is asked for is imported when its options are read."""
    names = parser.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK", parser_class=_LateParser)
    for name, benchmark in BENCHMARKS.items():
        names.add_parser(name, help=benchmark.help, module=benchmark.module)


def run(args: argparse.Namespace) -> int:
    """Run one benchmark. Raises ConfigError, naming the command that installs it, if a library is missing."""
    name: str = args.benchmark
    try:
        module = import_module(BENCHMARKS[name].module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"tesserank bench {name} is not installed (no module {error.name}): pip install 'tesserank[bench]'"
        ) from error
    status: int = module.run(args)
    return status


class _LateParser(argparse.ArgumentParser):
    """The parser of one benchmark, which imports its module when its options are needed and not before.

    Where the import fails, whatever follows the name is swallowed, and ``run`` says what is missing.
    """

    def __init__(self, *, module: str, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **settings)
        self._module: str | None = module

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        if not self._load():
            return namespace or argparse.Namespace(), []
        return super().parse_known_args(args, namespace)

    def format_help(self) -> str:
        self._load()
        return super().format_help()

    def _load(self) -> bool:
        if self._module is not None:
            try:
                module = import_module(self._module)
            except ModuleNotFoundError:
                return False
            self._module = None
            self.description = module.__doc__
            _add_common(self)
            module.add_arguments(self)
        return True


def _add_common(parser: argparse.ArgumentParser) -> None:
    common = parser.add_argument_group("every benchmark")
    common.add_argument("--quick", action="store_true", help="smaller: to see that it works, not for the record")
    common.add_argument("--json", action="store_true", help="the whole result as the last line of standard output")
    common.add_argument("--seed", type=int, default=0, metavar="N", help="of everything drawn at random (%(default)s)")
    common.add_argument(
        "--out", type=Path, metavar="FILE", help="the result (default: benchmarks/results; build/bench with --quick)"
    )
