"""The wire contract: every model's tensors, by name, datatype and shape, and the codes that errors carry.

This is the one place for these facts on the server's side. A test compares every ``config.pbtxt`` with it, and another
compares it with the client's copy (``tesserank_client/_protocol.py``), which may not import the server's packages.

Shapes leave out the batch dimension: B users for the request path, rows for the encoder. -1 is any length.
K segments, L tokens of a segment, d dimensions of the widest space, N candidates, k = TOP_K.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

ANY = -1


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


# What a request may carry. Rows of one request are users; the lists of different users are padded at their end: ids
# and texts with "", everything else with any value.
HISTORY_ITEM_IDS = Tensor("HISTORY_ITEM_IDS", "BYTES", (ANY,), optional=True)  # oldest first
HISTORY_TIMESTAMPS = Tensor("HISTORY_TIMESTAMPS", "INT64", (ANY,), optional=True)  # Unix seconds, non-decreasing
HISTORY_KINDS = Tensor("HISTORY_KINDS", "BYTES", (ANY,), optional=True)
HISTORY_WEIGHTS = Tensor("HISTORY_WEIGHTS", "FP32", (ANY,), optional=True)  # finite, >= 0
TEXT_NAMES = Tensor("TEXT_NAMES", "BYTES", (ANY,), optional=True)  # query, profile, ...; "" is the first configured
TEXTS = Tensor("TEXTS", "BYTES", (ANY,), optional=True)  # UTF-8; "" is no segment
TEXT_WEIGHTS = Tensor("TEXT_WEIGHTS", "FP32", (ANY,), optional=True)  # finite, >= 0
REQUEST_TIMESTAMP = Tensor("REQUEST_TIMESTAMP", "INT64", (1,), optional=True)  # Unix seconds; absent: now
CANDIDATE_IDS = Tensor("CANDIDATE_IDS", "BYTES", (ANY,), optional=True)  # absent: the whole catalogue
EXCLUDE_IDS = Tensor("EXCLUDE_IDS", "BYTES", (ANY,), optional=True)
CATEGORIES = Tensor("CATEGORIES", "BYTES", (ANY,), optional=True)  # only items of these; absent: of any or none
TOP_K = Tensor("TOP_K", "INT32", (1,), optional=True)
REJECT_UNKNOWN = Tensor("REJECT_UNKNOWN", "BOOL", (1,), optional=True)  # unknown ids: an error instead of a count
EXCLUDE_HISTORY = Tensor("EXCLUDE_HISTORY", "BOOL", (1,), optional=True)  # absent: true without CANDIDATE_IDS

# What is known of a user, as every model that reads it takes it.
USER_CONTEXT = (
    HISTORY_ITEM_IDS,
    HISTORY_TIMESTAMPS,
    HISTORY_KINDS,
    HISTORY_WEIGHTS,
    TEXT_NAMES,
    TEXTS,
    TEXT_WEIGHTS,
    REQUEST_TIMESTAMP,
)
# What a user wants ranked.
RANKING_OPTIONS = (
    CANDIDATE_IDS,
    EXCLUDE_IDS,
    CATEGORIES,
    TOP_K,
    REJECT_UNKNOWN,
    EXCLUDE_HISTORY,
)

# What segment_embedder hands to segmented_maxsim.
SEGMENT_EMBEDDINGS = Tensor("SEGMENT_EMBEDDINGS", "FP32", (ANY, ANY, ANY))  # [K, L, d]
TOKEN_WEIGHTS = Tensor("TOKEN_WEIGHTS", "FP32", (ANY, ANY))  # [K, L]; 0 is padding
TOKEN_GROUPS = Tensor("TOKEN_GROUPS", "INT32", (ANY, ANY))  # [K, L]; the item, within its segment, a token came from
SEGMENT_CHANNELS = Tensor("SEGMENT_CHANNELS", "INT32", (ANY,))  # [K]; -1 is padding
SEGMENT_WEIGHTS = Tensor("SEGMENT_WEIGHTS", "FP32", (ANY,))  # [K]

# What an answer carries.
ITEM_IDS = Tensor("ITEM_IDS", "BYTES", (ANY,))  # [k], best first; "" where fewer than k items remained
SCORES = Tensor("SCORES", "FP32", (ANY,))  # [k]; -inf where the id is ""
SEGMENT_SCORES = Tensor("SEGMENT_SCORES", "FP32", (ANY, ANY))  # [k, K]; MaxSim of segment and item
SEGMENT_CONTRIBUTIONS = Tensor("SEGMENT_CONTRIBUTIONS", "FP32", (ANY, ANY))  # [k, K]; a row's sum is its score
SEGMENT_LABELS = Tensor("SEGMENT_LABELS", "BYTES", (ANY,))  # [K]; "channel:what", as "history/text:B004756YJA"
UNKNOWN_HISTORY = Tensor("UNKNOWN_HISTORY", "INT32", (1,))  # history ids not in the catalogue, skipped
UNKNOWN_CANDIDATES = Tensor("UNKNOWN_CANDIDATES", "INT32", (1,))  # candidate ids not in the catalogue, skipped
TRUNCATED_TOKENS = Tensor("TRUNCATED_TOKENS", "INT32", (1,))  # tokens of texts beyond their segment's limit
CACHE_HITS = Tensor("CACHE_HITS", "INT32", (1,))  # segments of this user found encoded
CACHE_MISSES = Tensor("CACHE_MISSES", "INT32", (1,))  # segments of this user that were encoded now

SEGMENT_ENCODER = Interface(
    "segment_encoder",
    inputs=(Tensor("INPUT_IDS", "INT64", (ANY,)), Tensor("ATTENTION_MASK", "INT64", (ANY,))),
    outputs=(Tensor("TOKEN_EMBEDDINGS", "FP32", (ANY, ANY)),),  # [L, d], rows of unit length
)
SEGMENT_EMBEDDER = Interface(
    "segment_embedder",
    inputs=(
        *USER_CONTEXT,
        REJECT_UNKNOWN,
    ),
    outputs=(
        SEGMENT_EMBEDDINGS,
        TOKEN_WEIGHTS,
        TOKEN_GROUPS,
        SEGMENT_CHANNELS,
        SEGMENT_WEIGHTS,
        SEGMENT_LABELS,
        UNKNOWN_HISTORY,
        TRUNCATED_TOKENS,
        CACHE_HITS,
        CACHE_MISSES,
    ),
)
SEGMENTED_MAXSIM = Interface(
    "segmented_maxsim",
    inputs=(
        SEGMENT_EMBEDDINGS,
        TOKEN_WEIGHTS,
        TOKEN_GROUPS,
        SEGMENT_CHANNELS,
        SEGMENT_WEIGHTS,
        HISTORY_ITEM_IDS,
        *RANKING_OPTIONS,
    ),
    outputs=(ITEM_IDS, SCORES, SEGMENT_SCORES, SEGMENT_CONTRIBUTIONS, UNKNOWN_CANDIDATES),
)
SEGMENT_RANKER = Interface(
    "segment_ranker",
    inputs=(*USER_CONTEXT, *RANKING_OPTIONS),
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
# What a client calls; what answers it may change, its tensors do not.
RECOMMEND = Interface("recommend", inputs=SEGMENT_RANKER.inputs, outputs=SEGMENT_RANKER.outputs)
# The baseline, there for its cost: its backbone is the encoder's own, its pair head is untrained.
CROSS_ENCODER = Interface(
    "cross_encoder",
    inputs=(Tensor("HISTORY_TEXT", "BYTES", (1,)), Tensor("CANDIDATE_TEXTS", "BYTES", (ANY,))),
    outputs=(Tensor("SCORES", "FP32", (ANY,)),),
)
INTERFACES = (SEGMENT_ENCODER, SEGMENT_EMBEDDER, SEGMENTED_MAXSIM, SEGMENT_RANKER, RECOMMEND, CROSS_ENCODER)

DEFAULT_TOP_K = 10
MAX_USERS = 64  # rows of one request: max_batch_size of the models on the request path


class ErrorCode(str, Enum):
    """How an error of the server's begins on the wire: ``code: what happened``. The client types errors by it."""

    INVALID_ARGUMENT = "invalid_argument"  # a value, shape, encoding or order that no request may have
    UNKNOWN_ITEM = "unknown_item"  # REJECT_UNKNOWN was set and an id is not in the catalogue
    EMPTY_REQUEST = "empty_request"  # a user without any usable segment
    LIMIT_EXCEEDED = "limit_exceeded"  # more than a configured limit
    TOP_K_TOO_LARGE = "top_k_too_large"  # TOP_K above the number of candidates
    INTERNAL = "internal"  # the server's own fault
