"""The limits of a request. One place; a segments file may override any of them in its ``[limits]`` table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one request may carry. Exceeding any is a LimitExceededError that names the limit and both values."""

    max_history_events: int = 10_000  # of one user, before the window is applied
    max_texts: int = 32  # of one user
    max_text_bytes: int = 65_536  # of one text
    max_segments: int = 512  # of one user, after cutting
    max_embedding_bytes: int = 268_435_456  # SEGMENT_EMBEDDINGS of one request, all users, padding included
    max_candidates: int = 20_000  # of one user
    max_pairs: int = 2_000  # (history, item) pairs of one cross_encoder request, all users together
    max_excluded: int = 20_000  # of one user
    max_top_k: int = 1_000
    max_id_bytes: int = 256  # of one item id
    max_weight: int = 1_000_000  # of one event or text; far below where float32 scores would overflow
