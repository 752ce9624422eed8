"""Rows of a request as tensors. B rows (users); lists of different users are padded at their end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tesserank_client import _protocol as protocol
from tesserank_client._errors import InvalidArgumentError
from tesserank_client._protocol import Interface, Tensor
from tesserank_client._request import Row

NUMPY_DTYPES: dict[str, type] = {
    "BYTES": np.object_,
    "FP32": np.float32,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
}


@dataclass(frozen=True)
class Call:
    """One inference: a model and its inputs, each with the batch dimension [B, ...]."""

    interface: Interface
    inputs: tuple[tuple[Tensor, npt.NDArray[Any]], ...]


def encode_recommend(rows: Sequence[Row]) -> Call:
    """The call of ``recommend`` for B users; optional tensors that say nothing are left out.

    Raises:
        InvalidArgumentError: The rows differ in what a tensor has for all rows or none: candidates, categories,
            timestamps, of histories and of requests, top_k.
    """
    inputs = [
        *_history(rows),
        *_texts(rows),
        *_choices(rows, protocol.CANDIDATE_IDS, "candidates", lambda row: row.candidates),
        *_choices(rows, protocol.CATEGORIES, "categories", lambda row: row.categories),
        *_one_each(rows, protocol.TOP_K, "top_k", lambda row: row.top_k),
        *_one_each(rows, protocol.REQUEST_TIMESTAMP, "timestamp", lambda row: row.timestamp),
        (protocol.REJECT_UNKNOWN, _column([row.reject_unknown for row in rows], protocol.REJECT_UNKNOWN)),
    ]
    if any(row.exclude for row in rows):
        inputs.append((protocol.EXCLUDE_IDS, _strings([row.exclude for row in rows])))
    if any(row.exclude_history is not None for row in rows):
        # What the server assumes without the tensor, for the rows that leave it to the server.
        excludes = [row.candidates is None if row.exclude_history is None else row.exclude_history for row in rows]
        inputs.append((protocol.EXCLUDE_HISTORY, _column(excludes, protocol.EXCLUDE_HISTORY)))
    return Call(protocol.RECOMMEND, tuple(inputs))


def encode_cross_encoder(history_text: str, candidate_texts: Sequence[str]) -> Call:
    """The call of ``cross_encoder`` for one user: HISTORY_TEXT [1, 1], CANDIDATE_TEXTS [1, N]."""
    inputs = (
        (protocol.HISTORY_TEXT, _strings([[history_text]])),
        (protocol.CANDIDATE_TEXTS, _strings([candidate_texts])),
    )
    return Call(protocol.CROSS_ENCODER, inputs)


def _history(rows: Sequence[Row]) -> list[tuple[Tensor, npt.NDArray[Any]]]:
    histories = [row.history for row in rows]
    given = [history for history in histories if history.item_ids]
    if not given:
        return []
    tensors = [(protocol.HISTORY_ITEM_IDS, _strings([history.item_ids for history in histories]))]
    with_timestamps = sum(history.timestamps is not None for history in given)
    if 0 < with_timestamps < len(given):
        raise InvalidArgumentError("some of the users have timestamps in their history, others none: send them apart")
    if with_timestamps:
        stamps = [history.timestamps or () for history in histories]
        tensors.append((protocol.HISTORY_TIMESTAMPS, _numbers(stamps, protocol.HISTORY_TIMESTAMPS)))
    if any(history.kinds is not None for history in given):
        kinds = [history.kinds or ("",) * len(history.item_ids) for history in histories]
        tensors.append((protocol.HISTORY_KINDS, _strings(kinds)))
    if any(history.weights is not None for history in given):
        weights = [history.weights or (1.0,) * len(history.item_ids) for history in histories]
        tensors.append((protocol.HISTORY_WEIGHTS, _numbers(weights, protocol.HISTORY_WEIGHTS)))
    return tensors


def _texts(rows: Sequence[Row]) -> list[tuple[Tensor, npt.NDArray[Any]]]:
    if not any(row.texts for row in rows):
        return []
    tensors = [
        (protocol.TEXT_NAMES, _strings([[text.name for text in row.texts] for row in rows])),
        (protocol.TEXTS, _strings([[text.text for text in row.texts] for row in rows])),
    ]
    if any(text.weight != 1.0 for row in rows for text in row.texts):
        weights = [[text.weight for text in row.texts] for row in rows]
        tensors.append((protocol.TEXT_WEIGHTS, _numbers(weights, protocol.TEXT_WEIGHTS)))
    return tensors


def _choices(
    rows: Sequence[Row], tensor: Tensor, what: str, chosen: Callable[[Row], tuple[str, ...] | None]
) -> list[tuple[Tensor, npt.NDArray[Any]]]:
    """What all users have chosen, or none of them: an absent list and an empty one are not the same."""
    given = [choice for choice in map(chosen, rows) if choice is not None]
    if not given:
        return []
    if len(given) < len(rows):
        raise InvalidArgumentError(f"{len(given)} of {len(rows)} users have {what}, the others none: send them apart")
    return [(tensor, _strings(given))]


def _one_each(
    rows: Sequence[Row], tensor: Tensor, what: str, chosen: Callable[[Row], int | None]
) -> list[tuple[Tensor, npt.NDArray[Any]]]:
    """A number that all users have, or none of them."""
    given = [number for number in map(chosen, rows) if number is not None]
    if not given:
        return []
    if len(given) < len(rows):
        raise InvalidArgumentError(f"{len(given)} of {len(rows)} users have a {what}: give all of them one, or none")
    return [(tensor, _column(given, tensor))]


def _strings(rows: Sequence[Sequence[str]]) -> npt.NDArray[np.object_]:
    """[B, longest] of UTF-8 bytes, padded with b"": Triton's BYTES."""
    array = np.full((len(rows), max(map(len, rows))), b"", dtype=np.object_)
    for index, row in enumerate(rows):
        array[index, : len(row)] = [value.encode("utf-8") for value in row]
    return array


def _numbers(rows: Sequence[Sequence[float]], tensor: Tensor) -> npt.NDArray[Any]:
    """[B, longest] padded with 0."""
    shape = (len(rows), max(map(len, rows)))
    array: npt.NDArray[Any] = np.zeros(shape, dtype=NUMPY_DTYPES[tensor.datatype])
    with np.errstate(over="ignore"):  # a weight beyond float32 becomes infinite, which the server rejects by name
        for index, row in enumerate(rows):
            array[index, : len(row)] = row
    return array


def _column(values: Sequence[int], tensor: Tensor) -> npt.NDArray[Any]:
    """One value a row: [B, 1]."""
    return np.array(values, dtype=NUMPY_DTYPES[tensor.datatype]).reshape(-1, 1)
