"""Measure the quality of recommendations: leave-one-out over the whole catalogue, beside baselines.

Exports the catalogue and the log without users' last new items (or takes an artefact that was), ranks every item for
every user, and writes metrics with standard errors as JSON and as Markdown. Everything runs in this process;
--through-server asks a running server instead for tesserank's own lists.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from tesserank.arguments import check_least
from tesserank.errors import ConfigError
from tesserank.files import read_json, write_json
from tesserank.paths import BUILD
from tesserank.tracking import Run, add_tracking_argument, tracked
from tesserank_evaluation import asked, report
from tesserank_evaluation.baselines import BASELINES
from tesserank_evaluation.baselines.tuning import NEWEST
from tesserank_evaluation.conditions import Machine
from tesserank_evaluation.contenders import SERVED, TESSERANK, Baseline, Contender, InProcess, Served
from tesserank_evaluation.evaluate import Result, Round, evaluate
from tesserank_evaluation.exporting import add_artifact_arguments, held_out_artifact
from tesserank_evaluation.paired import Ranks, load_ranks, save_ranks
from tesserank_evaluation.split import Cases, make_cases
from tesserank_evaluation.tracking import track_evaluation
from tesserank_export.catalog import Catalog
from tesserank_export.cli import add_data_arguments, read_log
from tesserank_export.events import Events
from tesserank_export.heldout import PROTOCOLS

RESULTS = BUILD / "evaluation"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``tesserank evaluate``."""
    add_data_arguments(parser)
    parser.add_argument(
        "--protocol", choices=(*PROTOCOLS, "both"), default="both", help="see docs/evaluation.md (%(default)s)"
    )
    parser.add_argument("--users", type=int, metavar="N", help="rank for N users drawn at random (default: all)")
    names = ", ".join((TESSERANK, *BASELINES))
    parser.add_argument("--only", metavar="NAMES", help=f"comma-separated; default all: {names}")
    asked.add_arguments(parser)
    parser.add_argument("--through-server", metavar="HOST:PORT", help="also ask the server there, which serves it")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="of its answers (%(default)g)")
    add_artifact_arguments(parser)
    parser.add_argument("--threads", type=int, default=2, help="of late interaction and encoder (%(default)s)")
    parser.add_argument("--memory-mib", type=int, default=2048, help="for MaxSim that comes again (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of sample, export and baselines (%(default)s)")
    parser.add_argument(
        "--out", type=Path, metavar="FILE.json", help=f"also FILE.md and FILE.ranks.npz (default: in {RESULTS})"
    )
    add_tracking_argument(parser)
    parser.add_argument("--resume", action="store_true", help="keep what the file has of an evaluation like this one")


def run(args: argparse.Namespace) -> int:
    """Evaluate, save, and print the tables."""
    _check(args)
    with tracked(args.track, "evaluate") as tracker:
        return _run(args, tracker)


def _run(args: argparse.Namespace, tracker: Run) -> int:
    console = Console(file=sys.stderr, soft_wrap=True)
    machine = Machine(args.seed, {"evaluate": args.threads})
    catalog, events = read_log(args)
    contenders = _contenders(args, catalog, lambda line: console.print(line, highlight=False))
    cases = _cases(args, events)
    for own in cases.values():
        for contender in contenders.values():
            contender.check(own)
    rounds = {name: Round(own, held_out_artifact(args, own, catalog, events)) for name, own in cases.items()}
    out = args.out or RESULTS / f"{args.events.resolve().parent.name}.json"
    result = _begin(args, catalog, events, rounds)
    ranks_file = out.with_suffix(".ranks.npz")
    ranks: Ranks = {}
    if args.resume:
        _take_over(result, out)
        ranks = load_ranks(ranks_file)
    earlier = result["runs"]

    def save() -> None:
        result["runs"] = [*earlier, machine.conditions()]
        out.parent.mkdir(parents=True, exist_ok=True)
        save_ranks(ranks_file, ranks)
        write_json(out, result)  # last, as it says of what both are: a process killed between them ranks again
        out.with_suffix(".md").write_text(report.markdown(result), encoding="utf-8")

    evaluate(rounds, contenders, len(catalog), result, ranks, save, console)
    options = {"users": args.users, "seed": args.seed, "fit": args.fit}
    track_evaluation(tracker, result, {name: own.artifact.manifest for name, own in rounds.items()}, options)
    print(report.markdown(result))
    console.print(f"  written: {out} and {out.with_suffix('.md')}", highlight=False)
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.events is None:
        raise ConfigError("--events is needed: users' last items of a log are what is ranked for")
    check_least(args, {"users": 1, "threads": 1, "memory_mib": 0, "seed": 0, **asked.LEAST})


def _contenders(args: argparse.Namespace, catalog: Catalog, say: Callable[[str], None]) -> dict[str, Contender]:
    """Those of every evaluation, or of --only, and those that are asked for."""
    known: dict[str, Contender] = {TESSERANK: InProcess(catalog, args.threads, args.memory_mib << 20)}
    if args.through_server:
        known[SERVED] = Served(catalog, args.through_server, args.timeout, args.threads)
    known |= {name: Baseline(fit, catalog, args.seed, {"newest": [*NEWEST]}) for name, fit in BASELINES.items()}
    wanted = list(known) if args.only is None else _names(args.only)
    wanted += _names(args.also)
    known |= asked.contenders(args, catalog, wanted, say)
    for name in wanted:
        if name not in known:
            raise ConfigError(f"--only or --with {name}: there are {', '.join((*known, *asked.NAMES))}")
    return {name: known[name] for name in wanted}


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]


def _cases(args: argparse.Namespace, events: Events) -> dict[str, Cases]:
    protocols = PROTOCOLS if args.protocol == "both" else (args.protocol,)
    return {name: make_cases(events, args.users, args.seed, name) for name in protocols}


def _begin(args: argparse.Namespace, catalog: Catalog, events: Events, rounds: dict[str, Round]) -> Result:
    return {
        "dataset": {
            "name": args.events.resolve().parent.name,
            "items": len(catalog),
            "users": len(events.users),
            "events": len(events),
            "unknown_items": events.unknown_items,
            "catalog_sha256": catalog.sha256,
        },
        "of": {
            "users": args.users,
            "seed": args.seed,
            "train_sha256": {name: own.cases.held.digest for name, own in rounds.items()},
            "artifacts": {name: own.artifact.manifest.artifact_id for name, own in rounds.items()},
        },
        "protocols": {},
        "runs": [],
    }


def _take_over(result: Result, path: Path) -> None:
    """Take what a file has, if it is of the same users, logs and artefacts. Raises ConfigError if it is not."""
    if not path.exists():
        return
    earlier: dict[str, Any] = read_json(path)
    for part in ("dataset", "of"):
        if earlier.get(part) != result[part]:
            raise ConfigError(
                f"--resume: {path} is of another evaluation ({part}: {earlier.get(part)}, now {result[part]}): "
                "leave --resume out, or name another --out"
            )
    result["protocols"], result["runs"] = earlier["protocols"], earlier["runs"]
