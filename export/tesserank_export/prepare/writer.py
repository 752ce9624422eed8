"""From a source to the three files that the export, the evaluation and the benchmarks read."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, TextIO

from tesserank.errors import ConfigError, DataError
from tesserank.files import new_directory, write_json
from tesserank_export.prepare.records import Event, Source
from tesserank_export.prepare.staging import Staging

ITEMS, EVENTS, META = "items.jsonl.gz", "events.csv.gz", "meta.json"
COLUMNS = ("user_id", "item_id", "timestamp", "kind", "rating")
_STAGING = "staging.sqlite"
_REPORT_EVERY = 100_000


@dataclass(frozen=True)
class Filters:
    """What is left out. ``core`` 0: no k-core; ``min_rating`` leaves events without a rating alone."""

    core: int = 0
    min_rating: float | None = None
    all_items: bool = False  # also items that no event names
    once: bool = False  # events that agree in user, item, time and kind count once


@dataclass
class _Counts:
    """Sums over what is written."""

    items: int = 0
    title_words: int = 0
    text_words: int = 0
    empty_titles: int = 0
    first: int | None = None
    last: int | None = None
    histories: array[int] = field(default_factory=lambda: array("q"))

    def add_item(self, row: Mapping[str, Any]) -> None:
        self.items += 1
        self.title_words += len(row["title"].split())
        self.text_words += len(row["text"].split())
        self.empty_titles += not row["title"]

    def add_event(self, event: Event, is_new_user: bool) -> None:
        if is_new_user:
            self.histories.append(0)
        self.histories[-1] += 1
        self.first = event.timestamp if self.first is None else min(self.first, event.timestamp)
        self.last = event.timestamp if self.last is None else max(self.last, event.timestamp)


def prepare(
    source: Source, out: Path, name: str, filters: Filters = Filters(), progress: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Write ``source`` into the directory ``out``, which appears whole or not at all; what meta.json says.

    Equal input gives equal bytes. Memory does not grow with events and items, which wait in a database within the
    scratch directory of ``out``; 8 bytes a user, and what the format's reader says it needs.

    Raises:
        ConfigError: ``out`` holds anything but an earlier output.
        DataError: naming file and line, or no event is left.
    """
    _check_output(out)
    with new_directory(out) as scratch:
        staged = scratch / _STAGING
        with closing(Staging(staged)) as staging:
            left_out = _fill(staging, source, filters, progress)
            progress("writing")
            counts = _Counts()
            _write_items(scratch / ITEMS, staging, counts)
            _write_events(scratch / EVENTS, staging, counts)
            meta = _meta(source, name, filters, left_out, counts, staging.count_pairs())
        staged.unlink()
        meta["bytes"] = {part: (scratch / part).stat().st_size for part in (ITEMS, EVENTS)}
        write_json(scratch / META, meta)
    return meta


def _check_output(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file: name a directory")
    others = sorted({path.name for path in out.iterdir()} - {ITEMS, EVENTS, META}) if out.is_dir() else []
    if others:
        raise ConfigError(
            f"--out {out} holds other files ({', '.join(others[:3])}) and would be replaced: name another"
        )


def _fill(staging: Staging, source: Source, filters: Filters, progress: Callable[[str], None]) -> dict[str, int]:
    """Read everything and filter it; how much was left out, by reason."""
    repeated_items = staging.add_items(_counted(source.items(), "items", progress))
    if not staging.count_items():
        raise DataError(f"{source.files[0]}: no items in it")
    left_out: Counter[str] = Counter()
    staging.add_events(_rated(_counted(source.events(), "events", progress), filters.min_rating, left_out))
    progress("filtering")
    left_out["items with the id of an earlier one"] = repeated_items
    left_out["events with an item that the catalogue lacks"] = staging.drop_events_of_unknown_items()
    if filters.once:
        left_out["events that repeat another"] = staging.drop_repeated_events()
    if filters.core:
        left_out[f"events outside the {filters.core}-core"] = staging.keep_core(filters.core)
    if not filters.all_items:
        left_out["items without an event"] = staging.drop_items_without_events()
    reasons = {reason: count for reason, count in (left_out + source.skipped).items() if count}
    if not staging.count_events():
        spelled = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items()) or "the log has none"
        raise DataError(f"{', '.join(map(str, source.files))}: no event is left: {spelled}")
    return reasons


def _counted(rows: Iterator[Any], what: str, progress: Callable[[str], None]) -> Iterator[Any]:
    for number, row in enumerate(rows):
        if number % _REPORT_EVERY == 0:
            progress(f"reading {what}: {number:,}")
        yield row


def _rated(events: Iterator[Event], least: float | None, left_out: Counter[str]) -> Iterator[Event]:
    for event in events:
        if least is not None and event.rating is not None and event.rating < least:
            left_out[f"events rated below {least:g}"] += 1
        else:
            yield event


def _write_items(path: Path, staging: Staging, counts: _Counts) -> None:
    with _packed(path) as file:
        for text in staging.items():
            counts.add_item(json.loads(text))
            file.write(text + "\n")


def _write_events(path: Path, staging: Staging, counts: _Counts) -> None:
    with _packed(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        user = None
        for event in staging.events():
            counts.add_event(event, event.user_id != user)
            user = event.user_id
            writer.writerow((*event[:4], "" if event.rating is None else event.rating))


@contextmanager
def _packed(path: Path) -> Iterator[TextIO]:
    # Without a name and a time in its header, equal content has equal bytes.
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
    ):
        yield text


def _meta(
    source: Source, name: str, filters: Filters, left_out: Mapping[str, int], counts: _Counts, pairs: int
) -> dict[str, Any]:
    events = sum(counts.histories)
    return {
        "name": name,
        "scenario": source.about.scenario,
        "users": len(counts.histories),
        "items": counts.items,
        "events": events,
        "distinct_pairs": pairs,
        "mean_history": round(events / len(counts.histories), 2),
        "median_history": math.floor(median(counts.histories) + 0.5),
        "max_history": max(counts.histories),
        "mean_title_words": round(counts.title_words / counts.items, 2),
        "mean_text_words": round(counts.text_words / counts.items, 2),
        "empty_titles": counts.empty_titles,
        "first_ts": counts.first,
        "last_ts": counts.last,
        "left_out": dict(left_out),
        "filters": {"k_core": filters.core, "min_rating": filters.min_rating, "all_items": filters.all_items},
        "source": [{"file": f"{path.parent.name}/{path.name}", "bytes": path.stat().st_size} for path in source.files],
        "licence": source.about.licence,
        "notes": source.about.notes,
    }
