"""Real events for the requests, from a log: CSV or JSON Lines, also with gzip."""

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
from tesserank_loadtest.behaviour import Act

USER, ITEM, TIMESTAMP, KIND = "user_id", "item_id", "timestamp", "kind"
FORMATS = (".csv", ".jsonl")


def read_acts(path: Path, known_items: Collection[str]) -> tuple[Act, ...]:
    """All events of the file by time; those of one time, and those without, in the file's order.

    Fields: ``user_id`` and ``item_id``; ``timestamp`` (Unix seconds) and ``kind`` where there are any. Events of other
    items than ``known_items`` are left out, as the export leaves them out.

    Raises:
        DataError: The file cannot be read, a field is missing or unusable, or no event is left.
    """
    acts: list[Act] = []
    events, timed = 0, 0
    for line, row in _rows(path):
        act = _parse(row, f"{path}, row {line}")
        events += 1
        timed += act.timestamp is not None
        if 0 < timed < events:
            raise DataError(f"{path}, row {line}: some events have a {TIMESTAMP!r} and some have none")
        if act.item in known_items:
            acts.append(act)
    if not acts:
        raise DataError(f"none of the {events:,} events of {path} names an item of the catalogue: is it another one's?")
    return tuple(sorted(acts, key=lambda act: act.timestamp or 0.0))  # stable


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


def _parse(row: Mapping[str, Any], where: str) -> Act:
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: {row!r} is not an object")
    for field in (USER, ITEM):
        if row.get(field) in (None, ""):
            raise DataError(f"{where}: no {field!r} among its fields {', '.join(map(str, row))}")
    kind = row.get(KIND)
    moment = _seconds(row.get(TIMESTAMP), where)
    return Act(str(row[USER]), str(row[ITEM]), moment, None if kind in (None, "") else str(kind))


def _seconds(value: Any, where: str) -> int | None:
    if value is None or value == "":
        return None
    try:
        return math.floor(float(value))
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{where}: {TIMESTAMP} {value!r} is not a number of Unix seconds") from None
