"""Compare two artefacts on the same users of a log: agreement, quality, latency.

Both were exported with --hold-out, so that neither has seen what is asked of it. Every user is ranked for by both;
differences are taken user by user and come with 95% confidence intervals. Latency is of the request path in this
process, both artefacts asked in turn. Results are JSON and Markdown.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from tesserank.arguments import check_least
from tesserank.errors import ConfigError
from tesserank.files import write_json
from tesserank.paths import BUILD
from tesserank_evaluation.artifact import HeldOutArtifact, open_held_out
from tesserank_evaluation.compare import report
from tesserank_evaluation.compare.compare import of_rankings, ranked, timed
from tesserank_evaluation.conditions import Machine
from tesserank_evaluation.split import Cases, make_cases, sound_digests
from tesserank_export.catalog import Catalog
from tesserank_export.cli import add_data_arguments, read_log
from tesserank_export.events import Events
from tesserank_export.heldout import PLAIN, PROTOCOLS

RESULT = BUILD / "evaluation" / "compare.json"
LATENCY_USERS = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``tesserank compare``."""
    parser.add_argument("a", type=Path, metavar="A", help="an artefact's directory, artifacts/NAME/ID")
    parser.add_argument("b", type=Path, metavar="B", help="another's")
    add_data_arguments(parser)
    parser.add_argument("--protocol", choices=PROTOCOLS, default=PLAIN, help="see docs/evaluation.md (%(default)s)")
    parser.add_argument("--users", type=int, metavar="N", help="rank for N users drawn at random (default: all)")
    parser.add_argument(
        "--latency-users", type=int, default=LATENCY_USERS, metavar="N", help="time N of them; 0: none (%(default)s)"
    )
    parser.add_argument("--threads", type=int, default=2, help="of late interaction and encoder (%(default)s)")
    parser.add_argument("--memory-mib", type=int, default=2048, help="for MaxSim that comes again (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of samples and resamples (%(default)s)")
    parser.add_argument("--out", type=Path, default=RESULT, metavar="FILE.json", help="also FILE.md (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Compare, save, and print the tables."""
    _check(args)
    console = Console(file=sys.stderr, soft_wrap=True)
    machine = Machine(args.seed, {"compare": args.threads})
    catalog, events = read_log(args)
    cases = make_cases(events, args.users, args.seed, args.protocol)
    a, b = (_open(root, args, catalog, events) for root in (args.a, args.b))
    memory_bytes = args.memory_mib << 20
    rankings = [ranked(own, cases, len(catalog), args.threads, memory_bytes, console) for own in (a, b)]
    result = _described(args, catalog, events, cases, a, b) | of_rankings(*rankings)
    result["latency"] = (
        timed((a, b), cases, args.latency_users, args.threads, args.seed, console) if args.latency_users else None
    )
    result["conditions"] = machine.conditions()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.out, result)
    text = report.markdown(result)
    args.out.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
    console.print(f"  written: {args.out} and {args.out.with_suffix('.md')}", highlight=False)
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.events is None:
        raise ConfigError("--events is needed: users' last items of a log are what is ranked for")
    check_least(args, {"users": 1, "latency_users": 0, "threads": 1, "memory_mib": 0, "seed": 0})


def _open(root: Path, args: argparse.Namespace, catalog: Catalog, events: Events) -> HeldOutArtifact:
    remedy = f"export it with tesserank export --hold-out {args.protocol}"
    return open_held_out(root, catalog, sound_digests(events, args.seed, args.protocol), remedy)


def _described(
    args: argparse.Namespace, catalog: Catalog, events: Events, cases: Cases, a: HeldOutArtifact, b: HeldOutArtifact
) -> dict[str, Any]:
    return {
        "dataset": {
            "name": args.events.resolve().parent.name,
            "items": len(catalog),
            "users": len(events.users),
            "events": len(events),
            "catalog_sha256": catalog.sha256,
        },
        "of": {
            "protocol": args.protocol,
            "users": args.users,
            "ranked_users": len(cases),
            "seed": args.seed,
            "train_sha256": cases.held.digest,
            **{
                name: {"artifact": own.manifest.artifact_id, "name": own.manifest.name, "fitted_on": own.fitted_on}
                for name, own in (("a", a), ("b", b))
            },
        },
    }
