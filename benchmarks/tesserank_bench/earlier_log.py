"""The log that is learned from and chosen on: what a protocol keeps of the whole one, as a file that an export reads.

Users' last items, the targets of ``tesserank evaluate``, have left it. What is predicted here are the items before
those: so nothing is learned from a target, and no choice is made on one.
"""

from __future__ import annotations

import csv
import gzip
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tesserank_export.catalog import Catalog
from tesserank_export.events import EventFields, Events, read_events

FIELDS = EventFields()


@dataclass(frozen=True)
class EarlierLog:
    """A log without its targets, and the file that it was written to and read from."""

    path: Path
    events: Events

    @classmethod
    def write(cls, kept: Events, catalog: Catalog, path: Path) -> EarlierLog:
        """Of what a protocol keeps."""
        write_log(kept, catalog, path)
        return cls(path, read_events(path, catalog, FIELDS))

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of an export of it."""
        return {"events": self.path} | {f"{name}_field": column for name, column in vars(FIELDS).items()}


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
