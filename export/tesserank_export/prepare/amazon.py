"""Amazon reviews: a file of reviews and one of product metadata, of the 2014, 2018 or 2023 collection.

Which one is told by the fields of each row. Lines are JSON or, as in the metadata of 2014, Python literals; 2023 also
comes as Parquet, and its reviews as CSV.

| | user | item | time | title | brand | categories |
|---|---|---|---|---|---|---|
| 2014 | reviewerID | asin | unixReviewTime, s | title | brand | categories, a list of paths |
| 2018 | reviewerID | asin | unixReviewTime, s | title | brand | category, a path; main_cat |
| 2023 | user_id | parent_asin | timestamp, ms | title | store | categories, a path; main_category |
"""

from __future__ import annotations

import ast
import html
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tesserank.errors import DataError
from tesserank_export.prepare.records import About, Event, Item, clean_id, clean_text, parse_number
from tesserank_export.tables import MISSING, Row, read_lines, read_rows

KIND = "review"
_REVIEW = ("reviewerID", "user_id", "parent_asin", "asin", "unixReviewTime", "timestamp", "overall", "rating")
_PRODUCT = (
    "parent_asin", "asin", "title", "brand", "store", "description", "categories", "category", "main_cat",
    "main_category",
)  # fmt: skip
_LINES = (".json", ".json.gz", ".jsonl", ".jsonl.gz")
# The page code that stands for a title in some rows of 2018, as the collection's own notebook recognises it.
_PAGE_CODE = "getTime"
_TAG = re.compile(r"<[A-Za-z/!][^<>]*>")
_PICTURE_OF_WORDS = re.compile(r'<img [^>]*alt="([^"]*)"')


class Amazon:
    """Reviews and metadata of one category."""

    about = About(
        scenario="e-commerce",
        licence="Amazon review data (McAuley Lab, UCSD): for research, cite its paper; do not redistribute",
        notes="an event is a review; 2014 and 2018 know days only, so that events of a day are in the file's order",
    )

    def __init__(self, reviews: Path, metadata: Path) -> None:
        self.files: Sequence[Path] = (metadata, reviews)
        self.skipped: Counter[str] = Counter()
        self._reviews, self._metadata = reviews, metadata

    def items(self) -> Iterator[Item]:
        for row in _rows(self._metadata, _PRODUCT):
            fields = dict(zip(_PRODUCT, row.values, strict=True))
            item_id = clean_id(_first(fields, "parent_asin", "asin"), row.where, "the product's asin")
            title = self._title(fields["title"])
            path = _category_path(fields)
            more = {
                "brand": _text(_first(fields, "brand", "store")),
                "categories": path,
                "description": _text(fields["description"]),
            }
            yield Item(item_id, title, title, _main_category(fields) or next(iter(path), ""), more)

    def _title(self, value: object) -> str:
        if isinstance(value, str) and _PAGE_CODE in value:
            self.skipped["titles that are page code"] += 1
            return ""
        return _text(value)

    def events(self) -> Iterator[Event]:
        for row in _rows(self._reviews, _REVIEW):
            fields = dict(zip(_REVIEW, row.values, strict=True))
            user_id = clean_id(_first(fields, "reviewerID", "user_id"), row.where, "the reviewer's id")
            item_id = clean_id(_first(fields, "parent_asin", "asin"), row.where, "the product's asin")
            stars = _first(fields, "overall", "rating")
            rating = None if stars in (MISSING, None, "") else parse_number(stars, row.where, "the rating")
            yield Event(user_id, item_id, _seconds(fields, row), KIND, rating)


def _rows(path: Path, fields: Sequence[str]) -> Iterator[Row]:
    if not path.name.lower().endswith(_LINES):
        yield from read_rows(path, fields)
        return
    for number, line in enumerate(read_lines(path), 1):
        if line.strip():
            record = _parse(line, f"{path} line {number:,}")
            yield Row(path, "line", number, tuple(record.get(field, MISSING) for field in fields), list(record))


def _parse(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as json_error:
        try:
            record = ast.literal_eval(line.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise DataError(f"{where}: neither JSON ({json_error}) nor a Python literal ({error})") from error
    if not isinstance(record, dict):
        raise DataError(f"{where}: an object is needed, found {type(record).__name__}")
    return record


def _first(fields: dict[str, Any], *names: str) -> Any:
    """The value of the first of the fields that the row has."""
    return next((fields[name] for name in names if fields[name] not in (MISSING, None)), MISSING)


def _seconds(fields: dict[str, Any], row: Row) -> int:
    if fields["unixReviewTime"] is not MISSING:
        return int(parse_number(fields["unixReviewTime"], row.where, "unixReviewTime"))
    if fields["timestamp"] is MISSING:
        raise DataError(f"{row.where}: neither unixReviewTime (2014, 2018) nor timestamp (2023) in the review")
    return int(parse_number(fields["timestamp"], row.where, "timestamp")) // 1000


def _text(value: object) -> str:
    """A string, or a list of them joined, without HTML; anything else has no text."""
    if isinstance(value, list):
        return " ".join(part for part in map(_text, value) if part)
    return clean_text(_TAG.sub(" ", html.unescape(value))) if isinstance(value, str) else ""


def _category_path(fields: dict[str, Any]) -> list[str]:
    value = _first(fields, "categories", "category")
    if isinstance(value, list) and value and isinstance(value[0], list):
        value = value[0]  # 2014: a product may lie on several paths
    return [name for name in map(_text, value) if name] if isinstance(value, list) else []


def _main_category(fields: dict[str, Any]) -> str:
    value = _first(fields, "main_cat", "main_category")
    if isinstance(value, str) and (picture := _PICTURE_OF_WORDS.search(value)):
        value = picture[1]  # 2018: some departments are named by a picture
    return _text(value)
