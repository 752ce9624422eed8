"""A user on the command line: what ``tesserank recommend`` and ``tesserank explain`` are asked about."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args

from tesserank.errors import ConfigError

IDS = "comma-separated, or @file, one a line"


@dataclass(frozen=True)
class AskedUser:
    """A history, oldest first, and texts by name ("": the first of the segments file). Lists are equally long.

    ``timestamp``: Unix seconds of asking; None: now.
    """

    item_ids: Sequence[str] = ()
    timestamps: Sequence[int] | None = None
    kinds: Sequence[str] | None = None
    weights: Sequence[float] | None = None
    texts: Sequence[tuple[str, str]] = ()
    timestamp: int | None = None


def add_user_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say who is asked about."""
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--history", metavar="IDS", type=ids, default=(), help=f"the user's items, oldest first: {IDS}")
    whose.add_argument(
        "--user",
        metavar="FILE",
        type=Path,
        help="JSON with item_ids and, as they are known, timestamps, kinds, weights (equally long), texts (by name), "
        "and timestamp (of asking)",
    )
    parser.add_argument(
        "--text", metavar="TEXT", help="the first text segment of the segments file: what the user searches for, say"
    )
    parser.add_argument(
        "--named-text",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "TEXT"),
        help="another text segment, as --named-text profile 'likes jazz'; repeatable",
    )


def asked_user(args: argparse.Namespace) -> AskedUser:
    """Who the options name. Raises ConfigError that names the file of ``--user`` and what is wrong in it."""
    user = read_user(args.user) if args.user else AskedUser(args.history)
    texts = [] if args.text is None else [("", args.text)]
    texts += [(name, text) for name, text in args.named_text]
    return replace(user, texts=[*texts, *user.texts])


def read_user(path: Path) -> AskedUser:
    """The user in a JSON file; keys that say nothing of a request are named on standard error. Raises ConfigError."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--user {path}: cannot be read: {error}") from error
    if not isinstance(table, dict):
        raise ConfigError(f"--user {path}: an object is needed, found {type(table).__name__}")
    known = [field.name for field in fields(AskedUser)]
    if unused := [key for key in table if key not in known]:
        print(f"note: {path}: not used: {', '.join(unused)}; used are {', '.join(known)}", file=sys.stderr)
    item_ids = _list(path, table, "item_ids", str, len(table.get("item_ids") or ())) or []
    texts = table.get("texts", {})
    if not isinstance(texts, Mapping) or not all(isinstance(text, str) for text in texts.values()):
        raise ConfigError(f"--user {path}: texts must be an object of strings by name, not {texts!r}")
    timestamp = table.get("timestamp")
    if timestamp is not None and type(timestamp) is not int:
        raise ConfigError(f"--user {path}: timestamp must be an int, whole Unix seconds, not {timestamp!r}")
    return AskedUser(
        item_ids,
        _list(path, table, "timestamps", int, len(item_ids)),
        _list(path, table, "kinds", str, len(item_ids)),
        _list(path, table, "weights", int | float, len(item_ids)),
        list(texts.items()),
        timestamp,
    )


def _list(path: Path, table: Mapping[str, Any], key: str, kind: Any, count: int) -> list[Any] | None:
    values = table.get(key)
    if values is None:
        return None
    names = " or ".join(each.__name__ for each in get_args(kind) or (kind,))
    if not isinstance(values, list) or not all(isinstance(v, kind) and not isinstance(v, bool) for v in values):
        raise ConfigError(f"--user {path}: {key} must be a list of {names}, not {values!r:.60}")
    if len(values) != count:
        raise ConfigError(f"--user {path}: {len(values)} {key} but {count} item_ids")
    return values


def ids(argument: str) -> tuple[str, ...]:
    """The ids of a comma-separated list, or of ``@file``: one a line, so that an id may hold a comma."""
    if not argument.startswith("@"):
        return tuple(argument.split(",")) if argument else ()
    try:
        lines = Path(argument[1:]).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(f"cannot read ids from {argument[1:]}: {error}") from error
    return tuple(line for line in lines if line)
