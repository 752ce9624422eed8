"""Event logs written down by hand."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from tesserank_export.events import Events


def log_of(histories: Sequence[Sequence[tuple[int, int]]]) -> Events:
    """A log of users' events, each an item and a time, oldest first."""
    flat = list(itertools.chain(*histories))
    user = np.repeat(np.arange(len(histories)), [len(history) for history in histories]).astype(np.int32)
    return Events(
        users=tuple(f"u{user}" for user in range(len(histories))),
        kinds=("view", "buy"),
        user=user,
        item=np.array([item for item, _ in flat], dtype=np.int32),
        timestamp=np.array([time for _, time in flat], dtype=np.int64),
        kind=np.array([item % 2 for item, _ in flat], dtype=np.int32),
    )


def random_log(users: int, items: int, seed: int, longest: int = 8) -> Events:
    """A log in which items come again and share timestamps."""
    rng = np.random.default_rng(seed)
    histories = []
    for _ in range(users):
        length = int(rng.integers(1, longest + 1))
        times = np.sort(rng.integers(1, longest, size=length))
        histories.append(list(zip(rng.integers(items, size=length).tolist(), times.tolist(), strict=True)))
    return log_of(histories)
