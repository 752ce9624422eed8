"""Real histories for the requests, from an event log: CSV or JSON Lines, also with gzip."""

from __future__ import annotations

import csv
import gzip
import json
import math
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from tesserank.errors import DataError
from tesserank_client import Event

USER, ITEM, TIMESTAMP, KIND = "user_id", "item_id", "timestamp", "kind"
FORMATS = (".csv", ".jsonl")

History = tuple[Event, ...]


def read_histories(path: Path, known_items: Collection[str]) -> tuple[History, ...]:
    """The users' histories, oldest event first, in the order of the users' first known event in the file.

    Fields: ``user_id`` and ``item_id``; ``timestamp`` (Unix seconds) and ``kind`` where there are any. Events of other
    items than ``known_items`` are left out, as the export leaves them out.

    Raises:
        DataError: The file cannot be read, a field is missing or unusable, or no event is left.
    """
    histories: dict[str, list[Event]] = {}
    events, timed = 0, 0
    for line, row in _rows(path):
        event = _parse(row, f"{path}, row {line}")
        events += 1
        timed += event.timestamp is not None
        if 0 < timed < events:
            raise DataError(f"{path}, row {line}: some events have a {TIMESTAMP!r} and some have none")
        if event.item_id in known_items:
            histories.setdefault(str(row[USER]), []).append(event)
    if not histories:
        raise DataError(f"none of the {events:,} events of {path} names an item of the catalogue: is it another one's?")
    # stable: events of one time keep the file's order
    return tuple(tuple(sorted(history, key=lambda event: event.timestamp or 0)) for history in histories.values())


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Numbered rows by field name; the first is 1."""
    name = path.name.removesuffix(".gz")
    if not name.endswith(FORMATS):
        raise DataError(f"{path} is neither {' nor '.join(FORMATS)}, with or without .gz")
    try:
        with _open(path) as stream:
            parsed = csv.DictReader(stream) if name.endswith(".csv") else map(json.loads, stream)
            yield from enumerate(parsed, start=1)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise DataError(f"cannot read events from {path}: {error}") from error


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _parse(row: Mapping[str, Any], where: str) -> Event:
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: {row!r} is not an object")
    for field in (USER, ITEM):
        if row.get(field) in (None, ""):
            raise DataError(f"{where}: no {field!r} among its fields {', '.join(map(str, row))}")
    kind = row.get(KIND)
    return Event(str(row[ITEM]), _seconds(row.get(TIMESTAMP), where), None if kind in (None, "") else str(kind))


def _seconds(value: Any, where: str) -> int | None:
    if value is None or value == "":
        return None
    try:
        return math.floor(float(value))
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{where}: {TIMESTAMP} {value!r} is not a number of Unix seconds") from None
