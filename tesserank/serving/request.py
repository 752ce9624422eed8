"""What a user asks for, checked. What a client can get wrong is named, with the user's row and both values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.errors import InvalidArgumentError, LimitExceededError, TopKTooLargeError
from tesserank.limits import Limits
from tesserank.protocol import DEFAULT_TOP_K


@dataclass(frozen=True)
class Text:
    """A text segment as sent: which one it is, what it says, how much it weighs."""

    name: str
    text: str
    weight: float = 1.0


@dataclass(frozen=True)
class UserContext:
    """What is known of one user: a history, oldest first, and texts. The lists of the history are equally long.

    ``timestamp``: Unix seconds of asking; None: now.
    """

    item_ids: Sequence[bytes] = ()
    timestamps: Sequence[int] | NDArray[np.int64] | None = None
    kinds: Sequence[str] | None = None
    weights: Sequence[float] | NDArray[np.float32] | None = None
    texts: Sequence[Text] = ()
    reject_unknown: bool = False
    timestamp: int | None = None


@dataclass(frozen=True)
class RankingOptions:
    """What to rank and how much of it to return.

    ``candidates`` None is the whole catalogue. With ``categories``, an item that is in none of them is not ranked; None
    or an empty list is no such limit.
    """

    candidates: Sequence[bytes] | None = None
    categories: Sequence[bytes] | None = None
    exclude: Sequence[bytes] = ()
    history: Sequence[bytes] = ()
    top_k: int | None = None
    reject_unknown: bool = False
    exclude_history: bool | None = None

    @property
    def excluded(self) -> list[bytes]:
        """Ids left out of the answer. The history is one of them unless candidates were chosen by the client."""
        leave_out_history = self.candidates is None if self.exclude_history is None else self.exclude_history
        return [*self.exclude, *(self.history if leave_out_history else ())]


def check_context(context: UserContext, limits: Limits, row: int) -> None:
    """Raise LimitExceededError or InvalidArgumentError if a user's context breaks a limit or a rule."""
    _limit(row, "history events", len(context.item_ids), "max_history_events", limits.max_history_events)
    _limit(row, "texts", len(context.texts), "max_texts", limits.max_texts)
    _limit_ids(row, context.item_ids, limits)
    for text in context.texts:
        size = len(text.text.encode())
        _limit(row, f"bytes in text {text.name!r}", size, "max_text_bytes", limits.max_text_bytes)
        _check_weight(row, f"text {text.name!r}", 0, text.weight, limits)
    if context.weights is not None:
        _check_weights(row, "history", context.weights, limits)
    if context.timestamps is not None:
        _check_order(row, np.asarray(context.timestamps, dtype=np.int64))


def check_options(options: RankingOptions, catalogue_size: int, limits: Limits, row: int) -> int:
    """Check what a user wants ranked and return its k. Raises LimitExceededError or TopKTooLargeError."""
    candidates = catalogue_size if options.candidates is None else len(options.candidates)
    if options.candidates is not None:
        _limit(row, "candidates", candidates, "max_candidates", limits.max_candidates)
        if not options.candidates:
            raise InvalidArgumentError(f"user {row}: CANDIDATE_IDS is empty: leave it out to rank the whole catalogue")
        _limit_ids(row, options.candidates, limits)
    _limit(row, "excluded items", len(options.exclude), "max_excluded", limits.max_excluded)
    _limit_ids(row, options.exclude, limits)
    if options.top_k is None:
        return min(DEFAULT_TOP_K, candidates)
    if options.top_k < 1:
        raise InvalidArgumentError(f"user {row}: TOP_K must be at least 1, not {options.top_k}")
    _limit(row, "items asked for in TOP_K", options.top_k, "max_top_k", limits.max_top_k)
    if options.top_k > candidates:
        what = "items in the catalogue" if options.candidates is None else "candidates"
        raise TopKTooLargeError(f"user {row}: TOP_K is {options.top_k}, but there are {candidates} {what}")
    return options.top_k


def decode_text(value: bytes, name: str, row: int) -> str:
    """Decode UTF-8. Raises InvalidArgumentError that names the tensor and the first bad byte."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        bad = value[error.start]
        raise InvalidArgumentError(
            f"user {row}: {name} is not UTF-8: byte 0x{bad:02x} at position {error.start}"
        ) from error


def describe_ids(item_ids: Sequence[bytes], shown: int = 3) -> str:
    """``2 items (x, y)``, with at most ``shown`` ids spelled out."""
    names = ", ".join(item.decode("utf-8", "backslashreplace") for item in item_ids[:shown])
    more = ", ..." if len(item_ids) > shown else ""
    return f"{len(item_ids)} item{'s' if len(item_ids) != 1 else ''} ({names}{more})"


def _limit(row: int, what: str, value: int, name: str, limit: int) -> None:
    if value > limit:
        raise LimitExceededError(f"user {row}: {value:,} {what}, the limit {name} is {limit:,}")


def _limit_ids(row: int, item_ids: Sequence[bytes], limits: Limits) -> None:
    longest = max(map(len, item_ids), default=0)
    _limit(row, "bytes in an item id", longest, "max_id_bytes", limits.max_id_bytes)


def _check_order(row: int, timestamps: NDArray[np.int64]) -> None:
    falls = np.flatnonzero(timestamps[1:] < timestamps[:-1])
    if len(falls):
        position = int(falls[0]) + 1
        raise InvalidArgumentError(
            f"user {row}: history must be oldest first, but timestamp {timestamps[position]} at position {position} "
            f"follows {timestamps[position - 1]}"
        )


def _check_weights(row: int, what: str, weights: Sequence[float] | NDArray[np.float32], limits: Limits) -> None:
    values: NDArray[Any] = np.asarray(weights, dtype=np.float64)
    usable = (values >= 0) & (values <= limits.max_weight)  # NaN is neither
    if not usable.all():
        position = int(np.argmin(usable))
        _check_weight(row, what, position, float(values[position]), limits)


def _check_weight(row: int, what: str, position: int, weight: float, limits: Limits) -> None:
    if not (math.isfinite(weight) and weight >= 0):
        raise InvalidArgumentError(
            f"user {row}: weight {weight} at position {position} of {what}: weights must be finite and at least 0"
        )
    if weight > limits.max_weight:
        raise LimitExceededError(
            f"user {row}: a weight of {weight:g} in {what}, the limit max_weight is {limits.max_weight:,}"
        )
