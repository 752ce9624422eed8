"""The event log: who met which item, when and how, as arrays sorted by user and time."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from tesserank.errors import DataError
from tesserank_export.catalog import Catalog
from tesserank_export.tables import MISSING, Row, missing_field, parse_id, read_rows

if TYPE_CHECKING:
    from scipy import sparse

UnknownPolicy = Literal["skip", "reject"]
# The year 5138 in seconds: larger numbers are milliseconds or finer.
_MAX_SECONDS = 10**11
_SHOWN_IDS = 5


@dataclass(frozen=True)
class EventFields:
    """The names of an event log's columns. ``timestamp`` and ``kind`` may be absent from the file."""

    user: str = "user_id"
    item: str = "item_id"
    timestamp: str = "timestamp"
    kind: str = "kind"


@dataclass(frozen=True)
class Events:
    """E events of U users, sorted by user, then time, then position in the file.

    Users are those with at least one item of the catalogue, in order of first appearance.
    """

    users: tuple[str, ...]  # [U]
    kinds: tuple[str, ...]  # the distinct kinds; ("",) without a kind column
    user: NDArray[np.int32]  # [E] position in users
    item: NDArray[np.int32]  # [E] row of the catalogue
    timestamp: NDArray[np.int64]  # [E] Unix seconds; 0 without a timestamp column
    kind: NDArray[np.int32]  # [E] position in kinds
    unknown_items: int = 0  # events left out because the catalogue lacks their item

    def __len__(self) -> int:
        return len(self.item)

    @property
    def has_times(self) -> bool:
        """Whether the log says when."""
        return bool(self.timestamp.any())

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """[U + 1]: the events of user u are offsets[u]:offsets[u + 1], oldest first."""
        return np.searchsorted(self.user, np.arange(len(self.users) + 1)).astype(np.int64)

    def histories(self) -> Iterator[NDArray[np.int32]]:
        """The catalogue rows of each user in turn, oldest first, repeats kept."""
        for start, end in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            yield self.item[start:end]

    def subset(self, keep: NDArray[np.bool_]) -> Events:
        """The events where ``keep`` [E] is true; users keep their positions, also those left with none."""
        return Events(
            self.users,
            self.kinds,
            self.user[keep],
            self.item[keep],
            self.timestamp[keep],
            self.kind[keep],
            self.unknown_items,
        )

    def interaction_matrix(self, n_items: int) -> sparse.csr_matrix:
        """How often each user met each item: float32 [U, n_items]."""
        from scipy import sparse

        ones = np.ones(len(self), dtype=np.float32)
        return sparse.csr_matrix((ones, (self.user, self.item)), shape=(len(self.users), n_items))


def read_events(
    path: str | Path, catalog: Catalog, fields: EventFields = EventFields(), unknown: UnknownPolicy = "skip"
) -> Events:
    """Read JSONL, CSV (both also gzip) or Parquet; see ``tables.FORMATS``.

    Timestamps are Unix seconds (fractions are cut off) or ISO 8601 (UTC where no offset is written). Without a
    timestamp column the file's order counts; without a kind column every kind is "".

    ``unknown`` says what to do with events that name an item outside the catalogue: leave out and count, or reject.

    Raises:
        DataError: naming file and line: an unreadable file, a missing field or id, an unusable timestamp or kind;
            no event at all, or none with an item of the catalogue; unknown items under "reject".
    """
    path = Path(path)
    columns = _Columns(catalog)
    for row in read_rows(path, [fields.user, fields.item, fields.timestamp, fields.kind]):
        columns.append(row, fields)
    if columns.unknown and unknown == "reject":
        raise DataError(f"{path}: {columns.describe_unknown()}; leave them out with --unknown-items skip")
    if not columns.item:
        raise DataError(f"{path}: {columns.describe_unknown() if columns.unknown else 'no events in the file'}")
    return columns.sorted()


class _Columns:
    """Collects the rows of a log, ids turned into numbers on the way: a log is many times larger as strings."""

    def __init__(self, catalog: Catalog) -> None:
        self.rows_of_items = dict(catalog.row_of)
        self.users: dict[str, int] = {}
        self.kinds: dict[str, int] = {}
        self.user, self.item, self.kind = array("i"), array("i"), array("i")
        self.timestamp = array("q")
        self.unknown = 0
        self.unknown_ids: dict[str, None] = {}
        self.timed: bool | None = None

    def append(self, row: Row, fields: EventFields) -> None:
        user_value, item_value, time_value, kind_value = row.values
        seconds = self._seconds(time_value, row, fields)
        # Ids met before are known to be sound: most rows need no second look.
        item = self.rows_of_items.get(item_value) if type(item_value) is str else None
        if item is None:
            item = self._item(item_value, row, fields)
        user = self.users.get(user_value) if type(user_value) is str else None
        if user is None:
            user = self._user(user_value, row, fields, known=item is not None)
        if item is None or user is None:
            return
        kind = "" if kind_value is MISSING or kind_value is None else kind_value
        self.user.append(user)
        self.item.append(item)
        self.timestamp.append(seconds)
        self.kind.append(self.kinds.setdefault(parse_kind(kind, row), len(self.kinds)))

    def _item(self, value: object, row: Row, fields: EventFields) -> int | None:
        """The item's row, or None for an item outside the catalogue, which is counted."""
        if value is MISSING:
            raise missing_field(row, fields.item, "item", "--item-field")
        item_id = parse_id(value, row.where, "the item id")
        item = self.rows_of_items.get(item_id)
        if item is None:
            self.unknown += 1
            if len(self.unknown_ids) < _SHOWN_IDS:
                self.unknown_ids[item_id] = None
        return item

    def _user(self, value: object, row: Row, fields: EventFields, known: bool) -> int | None:
        """The user's position; a user is entered at the first event with an item of the catalogue."""
        if value is MISSING:
            raise missing_field(row, fields.user, "user", "--user-field")
        user_id = parse_id(value, row.where, "the user id")
        return self.users.setdefault(user_id, len(self.users)) if known else None

    def _seconds(self, value: object, row: Row, fields: EventFields) -> int:
        absent = value is MISSING or value is None or value == ""
        if self.timed is None:
            self.timed = not absent
        if absent == self.timed:
            without, other = ("no", "a") if absent else ("a", "no")
            raise DataError(f"{row.where}: {without} {fields.timestamp!r} here but {other} one on the lines before")
        return 0 if absent else parse_timestamp(value, row)

    def describe_unknown(self) -> str:
        total = self.unknown + len(self.item)
        shown = ", ".join(self.unknown_ids)
        return f"{self.unknown:,} of {total:,} events name items that are not in the catalogue, as {shown}"

    def sorted(self) -> Events:
        user, item = (np.array(self.user, dtype=np.int32), np.array(self.item, dtype=np.int32))
        kind, timestamp = (np.array(self.kind, dtype=np.int32), np.array(self.timestamp, dtype=np.int64))
        order = np.lexsort((timestamp, user))  # stable: equal times keep the file's order
        return Events(
            users=tuple(self.users),
            kinds=tuple(self.kinds),
            user=user[order],
            item=item[order],
            timestamp=timestamp[order],
            kind=kind[order],
            unknown_items=self.unknown,
        )


def parse_kind(value: object, row: Row) -> str:
    """An event's kind: a string, or an integer in decimal."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise DataError(f"{row.where}: the kind is {value!r} of type {type(value).__name__}: a string is needed")


def parse_timestamp(value: Any, row: Row) -> int:
    """Unix seconds of an integer, a finite float, a date, or a string that spells a number or ISO 8601."""
    try:
        seconds = _unix_seconds(value)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{row.where}: timestamp {value!r} is neither Unix seconds nor ISO 8601") from error
    if abs(seconds) >= _MAX_SECONDS:
        raise DataError(f"{row.where}: timestamp {value!r} is not in seconds: milliseconds must be divided by 1,000")
    return seconds


def _unix_seconds(value: Any) -> int:
    if isinstance(value, str):
        return _unix_seconds_of_text(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return math.floor(value)
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
        return math.floor(moment.timestamp())
    if isinstance(value, date):
        return _unix_seconds(datetime(value.year, value.month, value.day))
    raise ValueError("of no type that spells a time")


def _unix_seconds_of_text(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return math.floor(float(text))
    except ValueError:
        # Python 3.10's fromisoformat does not know the suffix Z.
        return _unix_seconds(datetime.fromisoformat(text.strip().replace("Z", "+00:00")))
