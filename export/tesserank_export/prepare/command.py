"""Turn a public data set, or tables of your own, into the files that tesserank export reads.

OUT gets items.jsonl.gz, events.csv.gz and meta.json. Nothing is downloaded: docs/data.md says where each data set is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Printed

from tesserank.arguments import check_least
from tesserank.errors import ConfigError
from tesserank_export.prepare.amazon import Amazon
from tesserank_export.prepare.mind import Mind
from tesserank_export.prepare.movielens import MovieLens
from tesserank_export.prepare.records import Source
from tesserank_export.prepare.table import EventColumns, ItemColumns, Table
from tesserank_export.prepare.writer import EVENTS, ITEMS, Filters, prepare

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
Make = Callable[[argparse.Namespace], Source]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The formats as subcommands, each with its own inputs."""
    formats = parser.add_subparsers(dest="format", required=True, metavar="FORMAT")
    amazon = _add_format(formats, "amazon", "Amazon reviews of 2014, 2018 or 2023", _make_amazon, once=True)
    amazon.add_argument("reviews", type=Path, help="as reviews_Beauty_5.json.gz, All_Beauty.jsonl.gz, .parquet")
    amazon.add_argument("metadata", type=Path, help="as meta_Beauty.json.gz, meta_All_Beauty.jsonl.gz, .parquet")
    movielens = _add_format(formats, "movielens", "MovieLens: latest, 1M, 10M, 20M, 25M, 32M", _make_movielens)
    movielens.add_argument("directory", type=Path, help="unpacked, as ml-latest-small")
    mind = _add_format(formats, "mind", "MIND: news and behaviors of Microsoft News", _make_mind)
    mind.add_argument("directory", type=Path, nargs="+", help="unpacked, as MINDsmall_train MINDsmall_dev")
    mind.add_argument("--shown", action="store_true", help="what was shown, not clicked, as events too")
    _add_table_arguments(_add_format(formats, "csv", "two tables: CSV, TSV, JSONL or Parquet, also .gz", _make_table))


def _add_format(formats: Any, name: str, summary: str, make: Make, once: bool = False) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = formats.add_parser(name, help=summary, description=summary)
    parser.set_defaults(make=make, once=once)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write; replaced as a whole")
    parser.add_argument("--name", help="of the data set, in meta.json (default: the name of DIR)")
    parser.add_argument(
        "--k-core", type=int, default=0, metavar="K", help="only users with K items and items with K users, repeatedly"
    )
    parser.add_argument("--min-rating", type=float, metavar="R", help="leave out events rated below R")
    parser.add_argument("--all-items", action="store_true", help="also items without an event; default: only those met")
    return parser


def _add_table_arguments(parser: argparse.ArgumentParser) -> None:
    items, events = ItemColumns(), EventColumns()
    parser.add_argument("items", type=Path, help="the catalogue")
    parser.add_argument("events", type=Path, help="the log")
    parser.add_argument("--id-field", default=items.item, help="the catalogue's field of ids (%(default)s)")
    parser.add_argument(
        "--text-field", default=",".join(items.text), help="of texts; several: title,text (%(default)s)"
    )
    parser.add_argument("--title-field", help="of titles (title, if there is one)")
    parser.add_argument("--category-field", help="of categories (category, if there is one)")
    for name in ("user", "item", "timestamp", "kind", "rating"):
        default = getattr(events, name)
        parser.add_argument(f"--{name}-field", default=default, help=f"the log's field of {name}s (%(default)s)")
    parser.add_argument("--milliseconds", action="store_true", help="timestamps count milliseconds, not seconds")
    parser.add_argument("--delimiter", choices=DELIMITERS, help="of CSV (comma; in .tsv tab)")


def run(args: argparse.Namespace) -> int:
    """Read, filter, write; what was written and left out goes to standard error."""
    check_least(args, {"k_core": 0})
    console = Console(file=sys.stderr, soft_wrap=True, highlight=False)
    source: Source = args.make(args)
    filters = Filters(args.k_core, args.min_rating, args.all_items, args.once)
    with console.status("reading") as status:
        meta = prepare(source, args.out, args.name or args.out.resolve().name, filters, status.update)
    _report(console, meta)
    console.print(f"next: tesserank export --catalog {args.out / ITEMS} --events {args.out / EVENTS} --segments FILE")
    return 0


def _report(console: Console, meta: dict[str, Any]) -> None:
    table = Printed(title=f"{meta['name']}: written and left out")
    table.add_column("what")
    table.add_column("count", justify="right")
    for what in ("users", "items", "events", "empty_titles"):
        table.add_row(what.replace("_", " "), f"{meta[what]:,}")
    table.add_row("longest history", f"{meta['max_history']:,}")
    table.add_section()
    for reason, count in meta["left_out"].items():
        table.add_row(f"left out: {reason}", f"{count:,}")
    console.print(table)


def _make_amazon(args: argparse.Namespace) -> Source:
    return Amazon(args.reviews, args.metadata)


def _make_movielens(args: argparse.Namespace) -> Source:
    return MovieLens(args.directory)


def _make_mind(args: argparse.Namespace) -> Source:
    return Mind(args.directory, args.shown)


def _make_table(args: argparse.Namespace) -> Source:
    texts = tuple(field.strip() for field in args.text_field.split(","))
    if not all(texts):
        raise ConfigError(f"--text-field {args.text_field!r}: a field name, or several separated by commas, is needed")
    items = ItemColumns(args.id_field, texts, args.title_field, args.category_field)
    names = (args.user_field, args.item_field, args.timestamp_field, args.kind_field, args.rating_field)
    return Table(
        args.items, args.events, items, EventColumns(*names, args.milliseconds), DELIMITERS.get(args.delimiter)
    )
