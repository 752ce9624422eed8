"""The part of the wire contract that a client needs: tensors of two models, and the codes that errors begin with.

A copy, because the client imports nothing of the server's packages; a test compares it with ``tesserank.protocol``.
Shapes leave out the batch dimension; -1 is any length.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

ANY = -1
DEFAULT_TOP_K = 10


@dataclass(frozen=True)
class Tensor:
    """One input or output of a model; ``datatype`` in Triton's spelling (BYTES, FP32, INT32, INT64, BOOL)."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False


@dataclass(frozen=True)
class Interface:
    """A Triton model's name and tensors."""

    model: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


# Rows of a request are users; lists of different length are padded at their end, ids and texts with "".
HISTORY_ITEM_IDS = Tensor("HISTORY_ITEM_IDS", "BYTES", (ANY,), optional=True)
HISTORY_TIMESTAMPS = Tensor("HISTORY_TIMESTAMPS", "INT64", (ANY,), optional=True)
HISTORY_KINDS = Tensor("HISTORY_KINDS", "BYTES", (ANY,), optional=True)
HISTORY_WEIGHTS = Tensor("HISTORY_WEIGHTS", "FP32", (ANY,), optional=True)
TEXT_NAMES = Tensor("TEXT_NAMES", "BYTES", (ANY,), optional=True)
TEXTS = Tensor("TEXTS", "BYTES", (ANY,), optional=True)
TEXT_WEIGHTS = Tensor("TEXT_WEIGHTS", "FP32", (ANY,), optional=True)
REQUEST_TIMESTAMP = Tensor("REQUEST_TIMESTAMP", "INT64", (1,), optional=True)
CANDIDATE_IDS = Tensor("CANDIDATE_IDS", "BYTES", (ANY,), optional=True)
EXCLUDE_IDS = Tensor("EXCLUDE_IDS", "BYTES", (ANY,), optional=True)
CATEGORIES = Tensor("CATEGORIES", "BYTES", (ANY,), optional=True)
TOP_K = Tensor("TOP_K", "INT32", (1,), optional=True)
REJECT_UNKNOWN = Tensor("REJECT_UNKNOWN", "BOOL", (1,), optional=True)
EXCLUDE_HISTORY = Tensor("EXCLUDE_HISTORY", "BOOL", (1,), optional=True)

ITEM_IDS = Tensor("ITEM_IDS", "BYTES", (ANY,))
SCORES = Tensor("SCORES", "FP32", (ANY,))
SEGMENT_SCORES = Tensor("SEGMENT_SCORES", "FP32", (ANY, ANY))
SEGMENT_CONTRIBUTIONS = Tensor("SEGMENT_CONTRIBUTIONS", "FP32", (ANY, ANY))
SEGMENT_LABELS = Tensor("SEGMENT_LABELS", "BYTES", (ANY,))
UNKNOWN_HISTORY = Tensor("UNKNOWN_HISTORY", "INT32", (1,))
UNKNOWN_CANDIDATES = Tensor("UNKNOWN_CANDIDATES", "INT32", (1,))
TRUNCATED_TOKENS = Tensor("TRUNCATED_TOKENS", "INT32", (1,))
CACHE_HITS = Tensor("CACHE_HITS", "INT32", (1,))
CACHE_MISSES = Tensor("CACHE_MISSES", "INT32", (1,))

HISTORY_TEXT = Tensor("HISTORY_TEXT", "BYTES", (1,))
CANDIDATE_TEXTS = Tensor("CANDIDATE_TEXTS", "BYTES", (ANY,))

RECOMMEND = Interface(
    "recommend",
    inputs=(
        HISTORY_ITEM_IDS,
        HISTORY_TIMESTAMPS,
        HISTORY_KINDS,
        HISTORY_WEIGHTS,
        TEXT_NAMES,
        TEXTS,
        TEXT_WEIGHTS,
        REQUEST_TIMESTAMP,
        CANDIDATE_IDS,
        EXCLUDE_IDS,
        CATEGORIES,
        TOP_K,
        REJECT_UNKNOWN,
        EXCLUDE_HISTORY,
    ),
    outputs=(
        ITEM_IDS,
        SCORES,
        SEGMENT_SCORES,
        SEGMENT_CONTRIBUTIONS,
        SEGMENT_LABELS,
        UNKNOWN_HISTORY,
        UNKNOWN_CANDIDATES,
        TRUNCATED_TOKENS,
        CACHE_HITS,
        CACHE_MISSES,
    ),
)
CROSS_ENCODER = Interface("cross_encoder", inputs=(HISTORY_TEXT, CANDIDATE_TEXTS), outputs=(SCORES,))


class ErrorCode(str, Enum):
    """How an error of the server's begins on the wire: ``code: what happened``."""

    INVALID_ARGUMENT = "invalid_argument"
    UNKNOWN_ITEM = "unknown_item"
    EMPTY_REQUEST = "empty_request"
    LIMIT_EXCEEDED = "limit_exceeded"
    TOP_K_TOO_LARGE = "top_k_too_large"
    INTERNAL = "internal"
