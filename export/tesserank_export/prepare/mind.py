"""MIND, news of Microsoft: directories with news.tsv and behaviors.tsv, tab-separated, without header or quoting.

A row of behaviors.tsv is what a user was shown at a time: ``N55689-1 N35729-0``, 1 for what was clicked; the test set
leaves the 0 and 1 out. Beside it stand the user's earlier clicks, without times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

from tesserank.errors import DataError
from tesserank_export.prepare.records import About, Event, Item, clean_id, clean_text, joined
from tesserank_export.tables import Row, read_lines

CLICK, SHOWN = "click", "shown"
_NEWS = ("news id", "category", "subcategory", "title", "abstract", "url", "title entities", "abstract entities")
_BEHAVIORS = ("impression id", "user id", "time", "history", "impressions")
_TIME = "%m/%d/%Y %I:%M:%S %p"


class Mind:
    """The splits in ``directories``, together. With ``shown``, what was not clicked is an event of the kind "shown"."""

    about = About(
        scenario="news",
        licence="MIND (Microsoft): Microsoft Research License Terms, non-commercial research only",
        notes="an event is a click; times are taken for UTC; clicks before a user's first impression have no time in "
        "MIND and stand one second apart before it, in their order",
    )

    def __init__(self, directories: Sequence[Path], shown: bool = False) -> None:
        self._news = [directory / "news.tsv" for directory in directories]
        self._behaviors = [directory / "behaviors.tsv" for directory in directories]
        self.files: Sequence[Path] = [*self._news, *self._behaviors]
        self.skipped: Counter[str] = Counter()
        self._shown = shown

    def items(self) -> Iterator[Item]:
        for path in self._news:
            for row in _rows(path, _NEWS):
                news, category, subcategory, title, abstract = row.values[:5]
                title, abstract = clean_text(title), clean_text(abstract)
                more = {"subcategory": clean_text(subcategory), "abstract": abstract}
                item_id = clean_id(news, row.where, "the news id")
                yield Item(item_id, joined([title, abstract]), title, clean_text(category), more)

    def events(self) -> Iterator[Event]:
        """Reads the behaviors twice: memory for the first impression of every user."""
        first = self._first_impressions()
        for path in self._behaviors:
            for row in _rows(path, _BEHAVIORS):
                _, user, _, history, impressions = row.values
                user_id, time = clean_id(user, row.where, "the user id"), _seconds(row)
                if first[user_id] == (time, row.where):
                    clicks = history.split()
                    for age, news in zip(range(len(clicks), 0, -1), clicks, strict=True):
                        yield Event(user_id, clean_id(news, row.where, "a news id"), time - age, CLICK, None)
                yield from self._impressions(user_id, time, impressions, row)

    def _impressions(self, user_id: str, time: int, impressions: str, row: Row) -> Iterator[Event]:
        for impression in impressions.split():
            news, dash, clicked = impression.rpartition("-")
            if not dash:
                self.skipped["impressions without a label"] += 1
            elif clicked not in ("0", "1"):
                raise DataError(f"{row.where}: impression {impression!r}: NEWS-0 or NEWS-1 is needed")
            elif clicked == "1" or self._shown:
                kind = CLICK if clicked == "1" else SHOWN
                yield Event(user_id, clean_id(news, row.where, "a news id"), time, kind, None)

    def _first_impressions(self) -> dict[str, tuple[int, str]]:
        """Time and place of each user's earliest row."""
        first: dict[str, tuple[int, str]] = {}
        for path in self._behaviors:
            for row in _rows(path, _BEHAVIORS):
                user, time = row.values[1], _seconds(row)
                if user not in first or time < first[user][0]:
                    first[user] = (time, row.where)
        return first


def _rows(path: Path, fields: Sequence[str]) -> Iterator[Row]:
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        values = tuple(line.rstrip("\r\n").split("\t"))
        if len(values) != len(fields):
            raise DataError(
                f"{path} line {number:,}: {len(values)} values separated by tabs, but {len(fields)} are needed: "
                + ", ".join(fields)
            )
        yield Row(path, "line", number, values, fields)


def _seconds(row: Row) -> int:
    try:
        moment = datetime.strptime(row.values[2], _TIME)
    except ValueError as error:
        raise DataError(f"{row.where}: time {row.values[2]!r} is not like 11/15/2019 8:55:22 AM") from error
    return int(moment.replace(tzinfo=timezone.utc).timestamp())
