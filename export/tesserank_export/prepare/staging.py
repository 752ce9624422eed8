"""Items and events on disk while they are filtered and sorted: SQLite holds what would not fit in memory."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from tesserank_export.prepare.records import Event, Item

_CACHE_KIB = 65_536
_SCHEMA = """
CREATE TABLE items (position INTEGER PRIMARY KEY, item TEXT NOT NULL UNIQUE, json TEXT NOT NULL,
                    repeats INTEGER NOT NULL DEFAULT 0);
CREATE TABLE events (position INTEGER PRIMARY KEY, user TEXT NOT NULL, item TEXT NOT NULL, time INTEGER NOT NULL,
                     kind TEXT NOT NULL, rating REAL);
"""


class Staging:
    """A database in a file of its own, which the caller removes. Counts that are returned are of rows dropped."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        # Nobody else reads it, and a run that was killed begins anew: no journal, no waiting for the disk.
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}", "temp_store = FILE"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        self._database.close()

    def add_items(self, items: Iterable[Item]) -> int:
        """Add items in order; of several with one id the first stays."""
        rows = ((item.item_id, _as_json(item)) for item in items)
        repeated = "ON CONFLICT (item) DO UPDATE SET repeats = repeats + 1"
        self._insert(f"INSERT INTO items (item, json) VALUES (?, ?) {repeated}", rows)
        return self._number("SELECT coalesce(sum(repeats), 0) FROM items")

    def add_events(self, events: Iterable[Event]) -> None:
        """Add events; of equal times the earlier one here stays the earlier one."""
        self._insert("INSERT INTO events (user, item, time, kind, rating) VALUES (?, ?, ?, ?, ?)", events)

    def _insert(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._database.execute("BEGIN")
        self._database.executemany(statement, rows)
        self._database.execute("COMMIT")

    def drop_events_of_unknown_items(self) -> int:
        return self._change("DELETE FROM events WHERE item NOT IN (SELECT item FROM items)")

    def drop_repeated_events(self) -> int:
        """Drop all but the first of events that agree in user, item, time and kind."""
        firsts = "SELECT min(position) FROM events GROUP BY user, item, time, kind"
        return self._change(f"DELETE FROM events WHERE position NOT IN ({firsts})")

    def keep_core(self, k: int) -> int:
        """Keep the k-core: every user met k distinct items of it or more, and every item k distinct users."""
        self._change("CREATE TABLE pairs (user TEXT, item TEXT, PRIMARY KEY (user, item)) WITHOUT ROWID")
        self._change("INSERT OR IGNORE INTO pairs SELECT user, item FROM events")
        self._change("CREATE INDEX pairs_by_item ON pairs (item, user)")
        while sum(self._drop_rare(column, k) for column in ("user", "item")):
            pass
        kept = "SELECT 1 FROM pairs WHERE pairs.user = events.user AND pairs.item = events.item"
        dropped = self._change(f"DELETE FROM events WHERE NOT EXISTS ({kept})")
        self._change("DROP TABLE pairs")
        return dropped

    def _drop_rare(self, column: str, k: int) -> int:
        rare = f"SELECT {column} FROM pairs GROUP BY {column} HAVING count(*) < {k:d}"
        return self._change(f"DELETE FROM pairs WHERE {column} IN ({rare})")

    def drop_items_without_events(self) -> int:
        return self._change("DELETE FROM items WHERE item NOT IN (SELECT item FROM events)")

    def _change(self, statement: str) -> int:
        return max(self._database.execute(statement).rowcount, 0)

    def count_items(self) -> int:
        return self._number("SELECT count(*) FROM items")

    def count_events(self) -> int:
        return self._number("SELECT count(*) FROM events")

    def count_pairs(self) -> int:
        """Distinct pairs of user and item."""
        return self._number("SELECT count(*) FROM (SELECT DISTINCT user, item FROM events)")

    def _number(self, query: str) -> int:
        number: int = self._database.execute(query).fetchone()[0]
        return number

    def items(self) -> Iterator[str]:
        """Items as JSON, in the order added."""
        for (text,) in self._database.execute("SELECT json FROM items ORDER BY position"):
            yield text

    def events(self) -> Iterator[Event]:
        """Events by user, then time, then the order added. Shorter user ids come first, so that numbers count up."""
        order = "length(user), user, time, position"
        for row in self._database.execute(f"SELECT user, item, time, kind, rating FROM events ORDER BY {order}"):
            yield Event(*row)


def _as_json(item: Item) -> str:
    fields = {"item_id": item.item_id, "text": item.text, "title": item.title, "category": item.category}
    return json.dumps(fields | dict(item.more), ensure_ascii=False)
