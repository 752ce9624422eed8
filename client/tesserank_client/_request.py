"""What is asked: the public request, and the checked row of it that can be sent.

Checked here is only what the wire cannot carry (types, "" where "" is padding, text that is not Unicode, integers that
do not fit); everything else is the server's judgement.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from tesserank_client._errors import InvalidArgumentError

T = TypeVar("T")
UnknownItems = Literal["skip", "reject"]


@dataclass(frozen=True)
class Event:
    """One event of a history.

    Args:
        item_id: The item's id in the catalogue.
        timestamp: Unix seconds; all events of a history have one, in non-decreasing order, or none has.
        kind: What happened, as ``"purchase"``.
        weight: Finite and not negative.
    """

    item_id: str
    timestamp: int | None = None
    kind: str | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Text:
    """One text segment.

    ``name`` is what the server's configuration calls it, as ``"query"`` or ``"profile"``; "" is the first it names.
    """

    name: str
    text: str
    weight: float = 1.0


@dataclass(frozen=True)
class Request:
    """One user's request; the arguments of ``Client.recommend``, which documents them."""

    history: Sequence[str | Event] = ()
    texts: str | Mapping[str, str] | Sequence[Text] = ()
    candidates: Sequence[str] | None = None
    exclude: Iterable[str] = ()
    top_k: int | None = None
    unknown_items: UnknownItems = "skip"
    exclude_history: bool | None = None


@dataclass(frozen=True)
class Row:
    """A request that can be sent: one row of every tensor."""

    events: tuple[Event, ...]
    texts: tuple[Text, ...]
    candidates: tuple[str, ...] | None
    exclude: tuple[str, ...]
    top_k: int | None
    reject_unknown: bool
    exclude_history: bool | None


def check(request: Request) -> Row:
    """The request as a row.

    Raises:
        InvalidArgumentError: It holds something that cannot be sent.
    """
    if request.unknown_items not in ("skip", "reject"):
        raise InvalidArgumentError(f"unknown_items {request.unknown_items!r}: it is 'skip' or 'reject'")
    if request.exclude_history is not None and not isinstance(request.exclude_history, bool):
        raise InvalidArgumentError(f"exclude_history {request.exclude_history!r}: it is True, False or None")
    return Row(
        events=_check_history(request.history),
        texts=_check_texts(request.texts),
        candidates=None if request.candidates is None else _check_candidates(request.candidates),
        exclude=tuple(check_string(item, "excluded item id") for item in check_many(request.exclude, "exclude")),
        top_k=None if request.top_k is None else _check_integer(request.top_k, "top_k", lowest=1, highest=2**31 - 1),
        reject_unknown=request.unknown_items == "reject",
        exclude_history=request.exclude_history,
    )


def check_string(value: object, what: str) -> str:
    """``value`` if it is a string that the wire can carry: not "", which is padding, and encodable as UTF-8."""
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{what} {value!r} is of type {type(value).__name__}: it must be a str")
    if not value:
        raise InvalidArgumentError(f'{what} is "": an empty string is padding on the wire, leave it out')
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"{what} {value!r} cannot be encoded as UTF-8: {error.reason}") from None
    return value


def check_many(values: Iterable[T], what: str) -> Iterable[T]:
    """``values`` if it is a collection; a lone string is one, but surely not of ids."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise InvalidArgumentError(f"{what} is {values!r}: give a list")
    return values


def _check_history(history: Iterable[str | Event]) -> tuple[Event, ...]:
    events = tuple(map(_check_event, check_many(history, "history")))
    with_timestamp = sum(event.timestamp is not None for event in events)
    if 0 < with_timestamp < len(events):
        raise InvalidArgumentError(
            f"{with_timestamp} of {len(events)} events of the history have a timestamp: give all of them one, or none"
        )
    return events


def _check_event(event: str | Event) -> Event:
    if not isinstance(event, Event):
        return Event(check_string(event, "item id in history"))
    check_string(event.item_id, "item id in history")
    if event.kind is not None:
        check_string(event.kind, f"kind of the event of item {event.item_id!r}")
    weight = _check_weight(event.weight, f"event of item {event.item_id!r}")
    if event.timestamp is None:
        return replace(event, weight=weight)
    what = f"timestamp of the event of item {event.item_id!r} (whole Unix seconds)"
    timestamp = _check_integer(event.timestamp, what, lowest=-(2**63), highest=2**63 - 1)
    return replace(event, weight=weight, timestamp=timestamp)


def _check_texts(texts: str | Mapping[str, str] | Sequence[Text]) -> tuple[Text, ...]:
    if isinstance(texts, str):
        return (_check_text(Text("", texts)),) if texts else ()
    if isinstance(texts, Mapping):
        return tuple(_check_text(Text(name, text)) for name, text in texts.items())
    return tuple(map(_check_text, check_many(texts, "texts")))


def _check_text(text: Text) -> Text:
    if not isinstance(text, Text):
        raise InvalidArgumentError(f"texts holds {text!r}: give Text(name, text) or a dict of name to text")
    if text.name != "":
        check_string(text.name, "name of a text")
    check_string(text.text, f"text {text.name!r}")
    return replace(text, weight=_check_weight(text.weight, f"text {text.name!r}"))


def _check_candidates(candidates: Iterable[str]) -> tuple[str, ...]:
    ids = tuple(check_string(item, "candidate id") for item in check_many(candidates, "candidates"))
    if not ids:
        raise InvalidArgumentError("candidates is empty: give ids, or None for the whole catalogue")
    return ids


def _check_weight(weight: Any, what: str) -> float:
    try:
        return float(weight)
    except (TypeError, ValueError, OverflowError):
        raise InvalidArgumentError(f"weight {weight!r} of the {what} is not a number") from None


def _check_integer(value: Any, what: str, *, lowest: int, highest: int) -> int:
    try:
        integer = operator.index(value)
    except TypeError:
        raise InvalidArgumentError(f"{what} is {value!r}: it must be an int") from None
    if isinstance(value, bool) or not lowest <= integer <= highest:
        raise InvalidArgumentError(f"{what} is {value!r}: it must be an int from {lowest} to {highest}")
    return integer
