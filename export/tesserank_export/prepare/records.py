"""What a format's reader yields, whatever the format: items and events, cleaned and checked."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tesserank.errors import DataError
from tesserank_export.tables import parse_id


class Item(NamedTuple):
    """A row of the catalogue. ``more`` holds the fields that only this format has; JSON types."""

    item_id: str
    text: str
    title: str
    category: str
    more: Mapping[str, Any]


class Event(NamedTuple):
    """``timestamp`` in Unix seconds; ``rating`` None where there is none."""

    user_id: str
    item_id: str
    timestamp: int
    kind: str
    rating: float | None


@dataclass(frozen=True)
class About:
    """What meta.json says of a format."""

    scenario: str
    licence: str
    notes: str


class Source(Protocol):
    """A data set in its own format. Both readers are streams, and raise DataError naming file and line.

    ``skipped`` counts, by reason, what the readers so far left out although it was well formed.
    """

    about: About
    files: Sequence[Path]
    skipped: Counter[str]

    def items(self) -> Iterator[Item]: ...

    def events(self) -> Iterator[Event]: ...


def clean_text(value: str) -> str:
    """One line, without control characters and surplus space; half a surrogate pair becomes U+FFFD."""
    text = value if value.isprintable() else "".join(map(_printable, value))
    return " ".join(text.split())


def _printable(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cs":
        return "\ufffd"
    return " " if category == "Cc" else character


def clean_id(value: object, where: str, what: str) -> str:
    """``value`` as an id. Raises DataError if it is none, or holds a control character: CSV readers may split there."""
    text = parse_id(value, where, what)
    if not text.isprintable() and any(unicodedata.category(character) == "Cc" for character in text):
        raise DataError(f"{where}: {what} {text!r} holds a control character")
    return text


def parse_number(value: object, where: str, what: str) -> float:
    """``value`` as a finite number. Raises DataError if it is none."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{where}: {what} is {value!r}: a number is needed")
    return number


def joined(parts: Iterable[str]) -> str:
    """The parts that are not empty, as sentences."""
    return ". ".join(part for part in parts if part)
