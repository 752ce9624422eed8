"""What is answered: tensors of an answer as recommendations, without their padding. k items, K segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tesserank_client import _protocol as protocol
from tesserank_client._errors import InternalServerError
from tesserank_client._protocol import Interface, Tensor

Answer = Mapping[str, npt.NDArray[Any] | None]


@dataclass(frozen=True)
class Recommendation:
    """One recommended item. The tuples are parallel to ``Recommendations.segments``.

    Args:
        item_id: The item's id in the catalogue.
        score: The aggregate that the ranking is by.
        segment_scores: K numbers: MaxSim of each segment with the item.
        contributions: K numbers: what each segment adds to the score; their sum is the score.
    """

    item_id: str
    score: float
    segment_scores: tuple[float, ...]
    contributions: tuple[float, ...]


@dataclass(frozen=True)
class Recommendations:
    """One user's answer, best item first.

    Args:
        items: Up to ``top_k`` items; fewer where fewer remained.
        segments: K labels, ``channel:what``, as ``history/text:B004756YJA``.
        unknown_history: History ids that are not in the catalogue and were skipped.
        unknown_candidates: Candidate ids that are not in the catalogue and were skipped.
        truncated_tokens: Tokens of texts beyond their segment's limit, left out.
        cache_hits: Segments of this user that were found encoded.
        cache_misses: Segments of this user that were encoded for this request.
        scores: float32 [k]; read-only, as are the next two.
        segment_scores: float32 [k, K]; MaxSim of item and segment.
        contributions: float32 [k, K]; a row's sum is the item's score.
    """

    items: tuple[Recommendation, ...]
    segments: tuple[str, ...]
    unknown_history: int
    unknown_candidates: int
    truncated_tokens: int
    cache_hits: int
    cache_misses: int
    scores: npt.NDArray[np.float32] = field(repr=False, compare=False)
    segment_scores: npt.NDArray[np.float32] = field(repr=False, compare=False)
    contributions: npt.NDArray[np.float32] = field(repr=False, compare=False)

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The items' ids, best first."""
        return tuple(item.item_id for item in self.items)


def decode_recommend(answer: Answer, users: int) -> list[Recommendations]:
    """The answer of ``recommend``, one entry a user.

    Raises:
        InternalServerError: A tensor is missing or not of the contract's shape: server and client do not match.
    """
    tensors = _check(answer, protocol.RECOMMEND, users)
    items, segments = tensors["ITEM_IDS"].shape[1], tensors["SEGMENT_LABELS"].shape[1]
    _check_shape(protocol.SCORES, tensors["SCORES"], (users, items))
    _check_shape(protocol.SEGMENT_SCORES, tensors["SEGMENT_SCORES"], (users, items, segments))
    _check_shape(protocol.SEGMENT_CONTRIBUTIONS, tensors["SEGMENT_CONTRIBUTIONS"], (users, items, segments))
    return [_decode_user({name: tensor[user] for name, tensor in tensors.items()}) for user in range(users)]


def decode_cross_encoder(answer: Answer, candidates: int) -> npt.NDArray[np.float32]:
    """The answer of ``cross_encoder`` for one user: float32 [N].

    Raises:
        InternalServerError: SCORES is missing or not of the shape [1, N].
    """
    scores = _check(answer, protocol.CROSS_ENCODER, 1)["SCORES"]
    _check_shape(protocol.SCORES, scores, (1, candidates))
    return np.array(scores[0], dtype=np.float32)


def _decode_user(tensors: dict[str, npt.NDArray[Any]]) -> Recommendations:
    ids, labels = _texts(tensors["ITEM_IDS"]), _texts(tensors["SEGMENT_LABELS"])
    items, segments = len(ids), len(labels)
    scores = _frozen(tensors["SCORES"][:items])
    segment_scores = _frozen(tensors["SEGMENT_SCORES"][:items, :segments])
    contributions = _frozen(tensors["SEGMENT_CONTRIBUTIONS"][:items, :segments])
    per_item = zip(ids, scores.tolist(), segment_scores.tolist(), contributions.tolist(), strict=True)
    return Recommendations(
        items=tuple(
            [Recommendation(item, score, tuple(parts), tuple(shares)) for item, score, parts, shares in per_item]
        ),
        segments=labels,
        unknown_history=int(tensors["UNKNOWN_HISTORY"][0]),
        unknown_candidates=int(tensors["UNKNOWN_CANDIDATES"][0]),
        truncated_tokens=int(tensors["TRUNCATED_TOKENS"][0]),
        cache_hits=int(tensors["CACHE_HITS"][0]),
        cache_misses=int(tensors["CACHE_MISSES"][0]),
        scores=scores,
        segment_scores=segment_scores,
        contributions=contributions,
    )


def _texts(strings: npt.NDArray[Any]) -> tuple[str, ...]:
    """The strings of a row without its padding, which is at the end."""
    encoded: list[bytes] = strings.tolist()
    while encoded and not encoded[-1]:
        encoded.pop()
    try:
        return tuple([value.decode("utf-8") for value in encoded])
    except UnicodeDecodeError as error:
        raise InternalServerError(f"{error.object!r} in the answer is not UTF-8") from error


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.flags.writeable = False
    return array


def _check(answer: Answer, interface: Interface, batch: int) -> dict[str, npt.NDArray[Any]]:
    tensors = {}
    for output in interface.outputs:
        tensor = answer.get(output.name)
        if tensor is None:
            raise InternalServerError(f"the answer of {interface.model} lacks {output.name}: server and client differ")
        _check_shape(output, tensor, (batch, *output.shape))
        tensors[output.name] = tensor
    return tensors


def _check_shape(output: Tensor, tensor: npt.NDArray[Any], expected: tuple[int, ...]) -> None:
    matches = len(tensor.shape) == len(expected) and all(
        wanted in (protocol.ANY, length) for wanted, length in zip(expected, tensor.shape, strict=True)
    )
    if not matches:
        raise InternalServerError(
            f"{output.name} came with shape {list(tensor.shape)}, the contract has {list(expected)}: "
            "server and client differ, or the server runs under numpy 2"
        )
