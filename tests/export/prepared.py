"""Reading what ``tesserank prepare`` wrote."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

from tesserank_export.prepare.records import Source
from tesserank_export.prepare.writer import EVENTS, ITEMS, META, Filters, prepare


def prepared(source: Source, out: Path, **filters: Any) -> tuple[list[dict[str, Any]], list[tuple[str, ...]], Any]:
    """Prepare ``source``; its items, its events as rows of text, and meta.json."""
    prepare(source, out, "test", Filters(**filters))
    return read(out)


def read(out: Path) -> tuple[list[dict[str, Any]], list[tuple[str, ...]], Any]:
    """Items, events (without the header) and meta.json of a directory."""
    with gzip.open(out / ITEMS, "rt", encoding="utf-8", newline="") as file:
        items = [json.loads(line) for line in file]
    with gzip.open(out / EVENTS, "rt", encoding="utf-8", newline="") as file:
        header, *events = csv.reader(file)
    assert header == ["user_id", "item_id", "timestamp", "kind", "rating"]
    return items, [tuple(event) for event in events], json.loads((out / META).read_text(encoding="utf-8"))
