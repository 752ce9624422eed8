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
    categories: Sequence[str] | None = None
    timestamp: int | None = None


@dataclass(frozen=True)
class History:
    """A history by columns, equally long; None is what no event says."""

    item_ids: tuple[str, ...] = ()
    timestamps: tuple[int, ...] | None = None
    kinds: tuple[str, ...] | None = None  # "" where an event has none
    weights: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Row:
    """A request that can be sent: one row of every tensor. None is what the request does not say."""

    history: History
    texts: tuple[Text, ...]
    candidates: tuple[str, ...] | None
    exclude: tuple[str, ...]
    categories: tuple[str, ...] | None
    top_k: int | None
    reject_unknown: bool
    exclude_history: bool | None
    timestamp: int | None


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
        history=_check_history(request.history),
        texts=_check_texts(request.texts),
        candidates=_check_choice(request.candidates, "candidates", "candidate id", "the whole catalogue"),
        exclude=check_strings(check_many(request.exclude, "exclude"), "excluded item id"),
        categories=_check_choice(request.categories, "categories", "category", "all categories"),
        top_k=None if request.top_k is None else _check_integer(request.top_k, "top_k", lowest=1, highest=2**31 - 1),
        reject_unknown=request.unknown_items == "reject",
        exclude_history=request.exclude_history,
        timestamp=None if request.timestamp is None else _check_seconds(request.timestamp, "timestamp of the request"),
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


def check_strings(values: Iterable[str], what: str) -> tuple[str, ...]:
    """``check_string`` of each."""
    strings = tuple(values)
    if not _are_strings(strings):
        for value in strings:  # one of them says what is wrong
            check_string(value, what)
    return strings


def _are_strings(values: Sequence[Any]) -> bool:
    """Whether ``check_string`` accepts all of them, told in a hundredth of the time."""
    try:
        "".join(values).encode("utf-8")
    except (TypeError, UnicodeEncodeError):
        return False
    return "" not in values


def check_many(values: Iterable[T], what: str) -> Iterable[T]:
    """``values`` if it is a collection; a lone string is one, but surely not of ids."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise InvalidArgumentError(f"{what} is {values!r}: give a list")
    return values


def _check_history(history: Iterable[str | Event]) -> History:
    entries = tuple(check_many(history, "history"))
    if _are_strings(entries):
        return History(entries)  # type: ignore[arg-type]
    events = [entry if isinstance(entry, Event) else Event(entry) for entry in entries]
    return History(
        item_ids=check_strings([event.item_id for event in events], "item id in history"),
        timestamps=_check_timestamps(events),
        kinds=_check_kinds(events),
        weights=_check_weights(events),
    )


def _check_timestamps(events: Sequence[Event]) -> tuple[int, ...] | None:
    stamps = [event.timestamp for event in events if event.timestamp is not None]
    if not stamps:
        return None
    if len(stamps) < len(events):
        raise InvalidArgumentError(
            f"{len(stamps)} of {len(events)} events of the history have a timestamp: give all of them one, or none"
        )
    if set(map(type, stamps)) == {int} and min(stamps) >= -(2**63) and max(stamps) < 2**63:
        return tuple(stamps)
    return tuple(
        [_check_seconds(event.timestamp, f"timestamp of the event of item {event.item_id!r}") for event in events]
    )


def _check_kinds(events: Sequence[Event]) -> tuple[str, ...] | None:
    kinds = [event.kind for event in events if event.kind is not None]
    if not kinds:
        return None
    if not _are_strings(kinds):
        for event in events:
            if event.kind is not None:
                check_string(event.kind, f"kind of the event of item {event.item_id!r}")
    return tuple(["" if event.kind is None else event.kind for event in events])


def _check_weights(events: Sequence[Event]) -> tuple[float, ...] | None:
    weights = [event.weight for event in events]
    if set(map(type, weights)) != {float}:
        weights = [_check_weight(event.weight, "event of item", event.item_id) for event in events]
    return None if set(weights) == {1.0} else tuple(weights)


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
    return replace(text, weight=_check_weight(text.weight, "text", text.name))


def _check_choice(values: Sequence[str] | None, name: str, what: str, everything: str) -> tuple[str, ...] | None:
    """Some of many, at least one; None is all."""
    if values is None:
        return None
    strings = check_strings(check_many(values, name), what)
    if not strings:
        raise InvalidArgumentError(f"{name} is empty: name some, or None for {everything}")
    return strings


def _check_weight(weight: Any, what: str, name: str) -> float:
    try:
        return float(weight)
    except (TypeError, ValueError, OverflowError):
        raise InvalidArgumentError(f"weight {weight!r} of the {what} {name!r} is not a number") from None


def _check_seconds(value: Any, what: str) -> int:
    return _check_integer(value, f"{what} (whole Unix seconds)", lowest=-(2**63), highest=2**63 - 1)


def _check_integer(value: Any, what: str, *, lowest: int, highest: int) -> int:
    try:
        integer = operator.index(value)
    except TypeError:
        raise InvalidArgumentError(f"{what} is {value!r}: it must be an int") from None
    if isinstance(value, bool) or not lowest <= integer <= highest:
        raise InvalidArgumentError(f"{what} is {value!r}: it must be an int from {lowest} to {highest}")
    return integer
