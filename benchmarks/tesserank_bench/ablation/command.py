"""What each part of the technique is worth: the table of ablations, on a log of your own.

Users' last items leave the log; the items before those are predicted, by the full configuration, by the technique as it
was first proposed, step by step, and by the full configuration with one thing changed at a time. Every row is kept as
it comes: the same command goes on where it was interrupted. Rows that need another index export one (kept too).
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from threadpoolctl import threadpool_limits

from tesserank.arguments import check_least
from tesserank.errors import ConfigError
from tesserank.paths import ARTIFACTS, BUILD
from tesserank.segments.reader import load_segments, parse_segments
from tesserank_bench.ablation import report
from tesserank_bench.ablation.exports import Group, grouped, text_of
from tesserank_bench.ablation.measure import Bench, Kept
from tesserank_bench.ablation.rows import FULL, Row, Table, all_rows
from tesserank_bench.ablation.verdicts import verdicts
from tesserank_bench.earlier_log import EarlierLog
from tesserank_bench.results import deliver, result_path
from tesserank_evaluation.conditions import Machine
from tesserank_evaluation.late_interaction import opened_artifact
from tesserank_evaluation.paired import difference
from tesserank_evaluation.split import Cases, make_cases
from tesserank_export.catalog import Catalog
from tesserank_export.cli import add_build_arguments, add_data_arguments, read_log
from tesserank_export.events import Events
from tesserank_export.heldout import PLAIN, hold_out_last
from tesserank_export.steps import digest_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

WORK = BUILD / "bench" / "ablation"
USERS, QUICK_USERS = 3_000, 50
Result = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``tesserank bench ablation``."""
    add_data_arguments(parser)
    build = parser.add_argument_group("the full configuration")
    add_build_arguments(build)  # type: ignore[arg-type]
    users = f"rank for N users drawn at random (default {USERS:,}; {QUICK_USERS} with --quick)"
    parser.add_argument("--users", type=int, metavar="N", help=users)
    parser.add_argument(
        "--rows", action="append", metavar="GLOB", help="only rows of such names or groups, as 'cut'; may be repeated"
    )
    parser.add_argument("--list", action="store_true", help="name the rows, and end")
    parser.add_argument("--threads", type=int, default=2, help="of late interaction and encoder (%(default)s)")
    parser.add_argument("--memory-mib", type=int, default=2048, help="for MaxSim that comes again (%(default)s)")
    parser.add_argument("--name", default="ablation", help="of the artefacts, NAME-HASH-plain (%(default)s)")
    parser.add_argument("--artifacts", type=Path, default=ARTIFACTS, help="(%(default)s)")
    parser.add_argument("--work", type=Path, default=WORK, metavar="DIR", help="where rows are kept (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Measure what is missing, and save; 0."""
    full = _full(args)
    groups = grouped(all_rows(parse_segments(text_of(full)), args.dim), full)
    chosen = _chosen(args, [row for group in groups for row in group.rows])
    if args.list:
        print("\n".join(f"{row.group}: {row.name}" for row in chosen))
        return 0
    _check(args)
    console = Console(file=sys.stderr, soft_wrap=True, highlight=False)
    Ablation(args, full, groups, chosen, console).run()
    return 0


def _full(args: argparse.Namespace) -> Table:
    """The segments file that everything is a change of; without one, the defaults."""
    if args.segments is None:
        return {}
    load_segments(args.segments)  # says what is wrong with it, and where
    table: Table = tomllib.loads(args.segments.read_text(encoding="utf-8"))
    return table


def _chosen(args: argparse.Namespace, rows: Sequence[Row]) -> list[Row]:
    if args.rows is None:
        return list(rows)
    for glob in args.rows:
        if not any(_matches(row, glob) for row in rows):
            raise ConfigError(
                f"--rows {glob!r}: no row or group of that name; tesserank bench ablation --list has them"
            )
    return [row for row in rows if row.name == FULL or any(_matches(row, glob) for glob in args.rows)]


def _matches(row: Row, glob: str) -> bool:
    return fnmatch.fnmatchcase(row.name, glob) or fnmatch.fnmatchcase(row.group, glob)


def _check(args: argparse.Namespace) -> None:
    if args.events is None:
        raise ConfigError("--events is needed: users' items before the last are what is ranked for")
    check_least(args, {"users": 1, "threads": 1, "memory_mib": 0, "seed": 0})


class Ablation:
    """One log's table."""

    def __init__(
        self, args: argparse.Namespace, full: Table, groups: Sequence[Group], chosen: Sequence[Row], console: Console
    ) -> None:
        self._full, self._groups, self._chosen, self._console = full, groups, chosen, console
        self._catalog, events = read_log(args)
        self._dataset = args.events.resolve().parent.name
        folder = args.work / self._dataset
        kept = hold_out_last(events, 0, args.seed, PLAIN).train
        log = EarlierLog.write(kept, self._catalog, folder / "events.csv.gz")
        users = args.users or (QUICK_USERS if args.quick else USERS)
        self._args = argparse.Namespace(**{**vars(args), **log.arguments, "users": users})
        self._cases = make_cases(log.events, users, args.seed, PLAIN)
        self._of = _of(self._args, full, self._cases, self._catalog)
        self._work = folder / digest_of(self._of)
        self._kept = Kept(self._work)
        self._result = self._begin(events)

    def run(self) -> None:
        """Every chosen row that is not kept from before, group by group."""
        args, machine = self._args, Machine(self._args.seed, {"ablation": self._args.threads})
        bench = Bench(self._catalog, self._cases, self._full, args.seed, self._console)
        chosen = {row.name for row in self._chosen}
        for group in self._groups:
            rows = [row for row in group.rows if row.name in chosen and not self._kept.has(row)]
            if not rows:
                continue
            artifact = group.export(args, self._work)
            with threadpool_limits(1, "blas"), opened_artifact(artifact, args.threads, args.memory_mib << 20) as opened:
                for row in rows:
                    entry, ranked = bench.measure(row, opened, artifact)
                    entry["commit"] = machine.conditions()["commit"]
                    self._kept.add(row, entry, ranked)
                    ndcg, seconds = entry["metrics"]["ndcg@10"]["mean"], entry["seconds"]["rank"]
                    self._console.print(f"  {row.name}: NDCG@10 {ndcg:.4f}, {seconds:.0f} s")
        self._deliver(machine)

    def _begin(self, events: Events) -> Result:
        return {
            "benchmark": "ablation",
            "quick": self._args.quick,
            "dataset": {
                "name": self._dataset,
                "items": len(self._catalog),
                "users": len(events.users),
                "events": len(events),
            },
            "of": self._of | {"ranked_users": len(self._cases), "protocol": PLAIN},
        }

    def _deliver(self, machine: Machine) -> None:
        ranks = self._kept.ranks
        base = ranks.get(("", FULL))
        rows = []
        for row in (row for group in self._groups for row in group.rows if self._kept.has(row)):
            own = None if base is None or row.name == FULL else difference(ranks["", row.name], base)
            kept = {name: own[name] for name in ("ndcg@10", "recall@10")} if own else None
            rows.append({"name": row.name, **self._kept.entries[row.name], "difference": kept})
        rows.sort(key=lambda row: list(self._order()).index(row["name"]))
        self._result |= {"rows": rows, "verdicts": verdicts(ranks), "conditions": machine.conditions()}
        name = f"ablation-{self._dataset}"
        text = report.markdown(self._result)
        print(text)
        deliver(self._args, name, self._result)
        result_path(self._args, name).with_suffix(".md").write_text(text, encoding="utf-8")

    def _order(self) -> list[str]:
        return [row.name for row in all_rows(parse_segments(text_of(self._full)), self._args.dim)]


def _of(args: argparse.Namespace, full: Table, cases: Cases, catalog: Catalog) -> Result:
    """What rows must agree in to stand in one table."""
    return {
        "users": args.users,
        "seed": args.seed,
        "train_sha256": cases.held.digest,
        "catalog_sha256": catalog.sha256,
        "segments": text_of(full),
        "model": args.model,
        "dim": args.dim,
        "collaborative_dim": args.collaborative_dim,
        "precision": args.precision,
    }
