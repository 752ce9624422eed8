"""A request's arrays → one UserContext or RankingOptions a row. Arrays are [B, ...], padded as in the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from tesserank import protocol
from tesserank.errors import EmptyRequestError, InvalidArgumentError
from tesserank.serving.request import RankingOptions, Text, UserContext, decode_text

Arrays = Mapping[str, NDArray[Any]]


def user_contexts(arrays: Arrays) -> list[UserContext]:
    """The users of a request. Raises InvalidArgumentError if parallel lists differ in length or a text is not UTF-8."""
    _check_parallel(arrays, protocol.HISTORY_ITEM_IDS, protocol.HISTORY_TIMESTAMPS)
    _check_parallel(arrays, protocol.HISTORY_ITEM_IDS, protocol.HISTORY_KINDS)
    _check_parallel(arrays, protocol.HISTORY_ITEM_IDS, protocol.HISTORY_WEIGHTS)
    _check_parallel(arrays, protocol.TEXTS, protocol.TEXT_NAMES, required=True)
    _check_parallel(arrays, protocol.TEXTS, protocol.TEXT_WEIGHTS)
    return [_user_context(arrays, row) for row in range(_batch_size(arrays))]


def ranking_options(arrays: Arrays) -> list[RankingOptions]:
    """What each user of a request wants ranked."""
    return [
        RankingOptions(
            candidates=_ids(arrays, protocol.CANDIDATE_IDS, row) if protocol.CANDIDATE_IDS.name in arrays else None,
            exclude=_ids(arrays, protocol.EXCLUDE_IDS, row),
            categories=_ids(arrays, protocol.CATEGORIES, row) if protocol.CATEGORIES.name in arrays else None,
            history=_ids(arrays, protocol.HISTORY_ITEM_IDS, row),
            top_k=_scalar(arrays, protocol.TOP_K, row),
            reject_unknown=bool(_scalar(arrays, protocol.REJECT_UNKNOWN, row)),
            exclude_history=_scalar(arrays, protocol.EXCLUDE_HISTORY, row),
        )
        for row in range(_batch_size(arrays))
    ]


def _user_context(arrays: Arrays, row: int) -> UserContext:
    item_ids = _ids(arrays, protocol.HISTORY_ITEM_IDS, row)
    kinds = _row(arrays, protocol.HISTORY_KINDS, row, len(item_ids))
    return UserContext(
        item_ids=item_ids,
        timestamps=_row(arrays, protocol.HISTORY_TIMESTAMPS, row, len(item_ids)),
        kinds=None if kinds is None else _kinds(kinds.tolist(), row),
        weights=_row(arrays, protocol.HISTORY_WEIGHTS, row, len(item_ids)),
        texts=_texts(arrays, row),
        reject_unknown=bool(_scalar(arrays, protocol.REJECT_UNKNOWN, row)),
        timestamp=_scalar(arrays, protocol.REQUEST_TIMESTAMP, row),
    )


def _kinds(encoded: list[bytes], row: int) -> list[str]:
    """There are few kinds, and many events."""
    decoded = {kind: decode_text(kind, protocol.HISTORY_KINDS.name, row) for kind in set(encoded)}
    return [decoded[kind] for kind in encoded]


def _texts(arrays: Arrays, row: int) -> list[Text]:
    if protocol.TEXTS.name not in arrays:
        return []
    texts, names = arrays[protocol.TEXTS.name][row].tolist(), arrays[protocol.TEXT_NAMES.name][row].tolist()
    sent = _row(arrays, protocol.TEXT_WEIGHTS, row, len(texts))
    weights = [1.0] * len(texts) if sent is None else sent.tolist()
    return [
        Text(decode_text(name, protocol.TEXT_NAMES.name, row), decode_text(text, protocol.TEXTS.name, row), weight)
        for name, text, weight in zip(names, texts, weights, strict=True)
        if text
    ]


def _ids(arrays: Arrays, tensor: protocol.Tensor, row: int) -> list[bytes]:
    """The ids of a row up to its padding. An empty id before the end is a mistake, not padding."""
    if tensor.name not in arrays:
        return []
    ids: list[bytes] = arrays[tensor.name][row].tolist()
    end = len(ids)
    while end and not ids[end - 1]:
        end -= 1
    if b"" in ids[:end]:
        raise InvalidArgumentError(f"user {row}: {tensor.name} has an empty id at position {ids.index(b'')}")
    return ids[:end]


def _row(arrays: Arrays, tensor: protocol.Tensor, row: int, length: int) -> NDArray[Any] | None:
    found = arrays.get(tensor.name)
    return None if found is None else found[row, :length]


def _scalar(arrays: Arrays, tensor: protocol.Tensor, row: int) -> Any:
    found = arrays.get(tensor.name)
    return None if found is None else found[row, 0].item()


def _batch_size(arrays: Arrays) -> int:
    if not arrays:
        raise EmptyRequestError("the request carries no input: send HISTORY_ITEM_IDS or TEXTS")
    return len(next(iter(arrays.values())))


def _check_parallel(arrays: Arrays, first: protocol.Tensor, second: protocol.Tensor, required: bool = False) -> None:
    a, b = arrays.get(first.name), arrays.get(second.name)
    if b is None and not (required and a is not None):
        return
    if a is None or b is None or a.shape[1] != b.shape[1]:
        lengths = [0 if array is None else array.shape[1] for array in (a, b)]
        raise InvalidArgumentError(
            f"{first.name} and {second.name} must be equally long, but are {lengths[0]} and {lengths[1]}"
        )
