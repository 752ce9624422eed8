"""Any catalogue and event log of one row an item and one row an event, their fields named by options."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tesserank.errors import DataError
from tesserank_export.events import parse_kind, parse_timestamp
from tesserank_export.prepare.records import About, Event, Item, clean_id, clean_text, joined, parse_number
from tesserank_export.tables import MISSING, Row, missing_field, read_rows


@dataclass(frozen=True)
class ItemColumns:
    """Fields of the catalogue. ``text`` may be several, joined. None: the field of that name, if there is one."""

    item: str = "item_id"
    text: tuple[str, ...] = ("text",)
    title: str | None = None
    category: str | None = None

    @property
    def optional(self) -> dict[str, str]:
        """Field names of title and category, by what they are."""
        return {"title": self.title or "title", "category": self.category or "category"}

    @property
    def named(self) -> set[str]:
        """The optional ones that were asked for by name, and so must be there."""
        return {name for name in (self.title, self.category) if name}


@dataclass(frozen=True)
class EventColumns:
    """Fields of the log. Kind and rating may be absent; ``milliseconds`` says what the timestamps count."""

    user: str = "user_id"
    item: str = "item_id"
    timestamp: str = "timestamp"
    kind: str = "kind"
    rating: str = "rating"
    milliseconds: bool = False


class Table:
    """Two files that ``tables.read_rows`` reads."""

    about = About(scenario="", licence="", notes="")

    def __init__(
        self, items: Path, events: Path, item_columns: ItemColumns, event_columns: EventColumns, delimiter: str | None
    ) -> None:
        self.files: Sequence[Path] = (items, events)
        self.skipped: Counter[str] = Counter()
        self._items, self._events = items, events
        self._of_items, self._of_events = item_columns, event_columns
        self._delimiter = delimiter

    def items(self) -> Iterator[Item]:
        columns, row = self._of_items, None
        title_field, category_field = columns.optional.values()
        unseen = columns.named
        for row in read_rows(self._items, [columns.item, title_field, category_field, *columns.text], self._delimiter):
            item, title, category, *texts = row.values
            if item is MISSING:
                raise missing_field(row, columns.item, "item id", "--id-field")
            if all(text is MISSING for text in texts):
                raise missing_field(row, columns.text[0], "text", "--text-field")
            unseen -= set(row.present)
            text = joined(_text(value, row, field) for field, value in zip(columns.text, texts, strict=True))
            item_id = clean_id(item, row.where, "the item id")
            yield Item(item_id, text, _text(title, row, title_field), _text(category, row, category_field), {})
        for role, field in columns.optional.items():
            if row is not None and field in unseen:
                raise missing_field(row, field, role, f"--{role}-field")

    def events(self) -> Iterator[Event]:
        columns = self._of_events
        fields = (columns.user, columns.item, columns.timestamp, columns.kind, columns.rating)
        options = ("--user-field", "--item-field", "--timestamp-field")
        for row in read_rows(self._events, fields, self._delimiter):
            for field, value, option in zip(fields, row.values, options, strict=False):
                if value is MISSING:
                    raise missing_field(row, field, option.strip("-").removesuffix("-field"), option)
            user, item, time, kind, rating = row.values
            yield Event(
                clean_id(user, row.where, "the user id"),
                clean_id(item, row.where, "the item id"),
                self._seconds(time, row),
                "" if kind in (MISSING, None) else clean_text(parse_kind(kind, row)),
                None if rating in (MISSING, None, "") else parse_number(rating, row.where, "the rating"),
            )

    def _seconds(self, value: Any, row: Row) -> int:
        if self._of_events.milliseconds:
            return int(parse_number(value, row.where, "the timestamp")) // 1000
        return parse_timestamp(value, row)


def _text(value: object, row: Row, field: str) -> str:
    if value is None or value is MISSING:
        return ""
    if isinstance(value, list):
        return ", ".join(part for part in (_text(element, row, field) for element in value) if part)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise DataError(f"{row.where}: field {field!r} is a {type(value).__name__}: text, a number or a list is needed")
    return clean_text(str(value))
