"""The log that is learned from and ranked on: the whole one, less what an evaluation asks for.

Users' last items, the targets of ``tesserank evaluate``, leave it first. What is predicted here are the items before
those: so no choice that is made by this table is made on a target.
"""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

from tesserank_export.catalog import Catalog
from tesserank_export.events import EventFields, Events

FIELDS = EventFields()


def write_log(events: Events, catalog: Catalog, path: Path) -> None:
    """Write events as ``tesserank export`` reads them by default: the same bytes for the same events."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = (events.user.tolist(), events.item.tolist(), events.timestamp.tolist(), events.kind.tolist())
    timed = events.has_times
    with gzip.GzipFile(path, "wb", mtime=0) as packed, io.TextIOWrapper(packed, encoding="utf-8", newline="") as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([FIELDS.user, FIELDS.item, FIELDS.timestamp, FIELDS.kind])
        writer.writerows(
            (events.users[user], catalog.item_ids[item], time if timed else "", events.kinds[kind])
            for user, item, time, kind in zip(*columns, strict=True)
        )
