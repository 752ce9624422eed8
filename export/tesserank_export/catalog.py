"""The catalogue: item ids and the text of each, read once and checked before anything is built on it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tesserank.errors import DataError
from tesserank_export.tables import MISSING, Row, encode_text, missing_field, parse_id, read_rows

FIELD_JOINT = ". "
CATEGORY_FIELD = "category"


@dataclass(frozen=True)
class Catalog:
    """Items in file order. ``texts[i]`` belongs to ``item_ids[i]`` and may be empty; so does ``categories[i]``."""

    item_ids: tuple[str, ...]
    texts: tuple[str, ...]
    sha256: str  # of ids and texts in order, whatever the format they were read from
    categories: tuple[str, ...] | None = None  # "" for an item without one; None if the catalogue has no such field

    @classmethod
    def of(cls, item_ids: Sequence[str], texts: Sequence[str], categories: Sequence[str] | None = None) -> Catalog:
        """A catalogue of items already in memory; the ids must be distinct."""
        if len(item_ids) != len(texts):
            raise DataError(f"{len(item_ids):,} item ids but {len(texts):,} texts")
        if len(set(item_ids)) != len(item_ids):
            raise DataError(f"{len(item_ids):,} item ids of which only {len(set(item_ids)):,} are distinct")
        if categories is not None and len(categories) != len(item_ids):
            raise DataError(f"{len(item_ids):,} item ids but {len(categories):,} categories")
        content = _content_hash(item_ids, texts)
        return cls(tuple(item_ids), tuple(texts), content, None if categories is None else tuple(categories))

    def __len__(self) -> int:
        return len(self.item_ids)

    @cached_property
    def row_of(self) -> Mapping[str, int]:
        """Position of each item id."""
        return MappingProxyType({item_id: row for row, item_id in enumerate(self.item_ids)})

    @property
    def empty_texts(self) -> int:
        """Number of items without text: they have vectors in the collaborative space alone."""
        return sum(not text for text in self.texts)


def read_catalog(
    path: str | Path, id_field: str = "item_id", text_field: str = "text", category_field: str | None = None
) -> Catalog:
    """Read JSONL, CSV (both also gzip) or Parquet; see ``tables.FORMATS``.

    ``text_field`` may be a comma list, as "title,description": the values that are not empty are joined with ". ",
    the elements of a list value with ", ". With several fields a row may lack some of them. Integer ids become str.

    ``category_field`` None is CATEGORY_FIELD where the catalogue has it, "" is none; an item may lack its category.

    Raises:
        DataError: naming file and line: an unreadable file, a missing field, a missing, empty, overlong or duplicate
            id, a text that is no text, a category that is no string or number; or an empty catalogue.
    """
    path = Path(path)
    fields = _text_fields(text_field)
    category = [CATEGORY_FIELD] if category_field is None else [category_field] if category_field else []
    numbers: dict[str, int] = {}  # where each id stands
    texts: list[str] = []
    categories: list[str] = []
    unseen = {*fields, *category}
    row = None
    for row in read_rows(path, [id_field, *fields, *category]):
        item_id = _item_id(row, id_field)
        if item_id in numbers:
            unit = row.unit
            raise DataError(f"{path}: item id {item_id!r} on {unit} {numbers[item_id]:,} and {unit} {row.number:,}")
        numbers[item_id] = row.number
        named = zip([*fields, *category], row.values[1:], strict=True)
        unseen -= {field for field, value in named if value is not MISSING}
        texts.append(_text(row, fields))
        categories += [_category(row, field) for field in category]
    if row is None:
        raise DataError(f"{path}: the catalogue is empty: no items in the file")
    for field in fields:
        if field in unseen:
            raise missing_field(row, field, "text", "--text-field")
    if category_field and category_field in unseen:
        raise missing_field(row, category_field, "category", "--category-field")
    return Catalog.of(list(numbers), texts, None if unseen or not category else categories)


def _text_fields(text_field: str) -> list[str]:
    fields = [field.strip() for field in text_field.split(",")]
    if not all(fields):
        raise DataError(f"text field {text_field!r}: a field name, or several separated by commas, is needed")
    return fields


def _item_id(row: Row, id_field: str) -> str:
    if row.values[0] is MISSING:
        raise missing_field(row, id_field, "item id", "--id-field")
    return parse_id(row.values[0], row.where, "the item id")


def _text(row: Row, fields: Sequence[str]) -> str:
    values = row.values[1 : 1 + len(fields)]
    if all(value is MISSING for value in values):
        raise missing_field(row, fields[0], "text", "--text-field")
    parts = [_as_text(value, row.where, field) for field, value in zip(fields, values, strict=True)]
    return FIELD_JOINT.join(part for part in parts if part)


def _category(row: Row, field: str) -> str:
    value = row.values[-1]
    if value is None or value is MISSING:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise DataError(
            f"{row.where}: field {field!r} is a {type(value).__name__}, but a category is text or a number: "
            "name another field with --category-field, or none with --category-field ''"
        )
    return _as_text(value, row.where, field)


def _as_text(value: Any, where: str, field: str) -> str:
    if value is None or value is MISSING:
        return ""
    if isinstance(value, list):
        return ", ".join(part for part in (_as_text(element, where, field) for element in value) if part)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise DataError(f"{where}: field {field!r} is a {type(value).__name__}: text, a number or a list is needed")
    text = str(value).strip()
    encode_text(text, where, f"field {field!r}")
    return text


def _content_hash(item_ids: Sequence[str], texts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for item_id, text in zip(item_ids, texts, strict=True):
        # Lengths first: without them ("ab", "c") and ("a", "bc") would hash alike.
        for part in (item_id.encode(), text.encode()):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.hexdigest()
