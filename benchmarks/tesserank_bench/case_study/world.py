"""Users and items of the case study: made up, with tastes that are known, so that a ranking can be judged.

Items are the e-commerce example's: a brand's thing of a quality, with a detail (its words make 104,832 of them). A
*taste* is one kind of thing, as "burr coffee grinder". Users have one to three; seven in eight of their events are of
one of them, and those of a session of the same. Within a taste items are met by Zipf's law.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.errors import ConfigError
from tesserank.paths import CHECKOUT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

VOCABULARY = CHECKOUT / "examples" / "ecommerce" / "topics.toml"
TASTES = (1, 3)
SESSIONS = (4, 8)
EVENTS = (2, 5)  # of a session
NOISE = 0.125
START = 1_704_067_200
EVENT_GAP_S = 60
SESSION_GAP_S = 86_400
_ZIPF_SHIFT = 3


@dataclass(frozen=True)
class World:
    """N items and E events of U users, sorted by user and time."""

    item_ids: Sequence[str]
    texts: Sequence[str]
    taste_of: NDArray[np.int64]  # [N] the kind of thing that an item is
    tastes: Sequence[frozenset[int]]  # of each user
    user: NDArray[np.int64]  # [E]
    item: NDArray[np.int64]  # [E]
    timestamp: NDArray[np.int64]  # [E] Unix seconds


def make_world(users: int, items: int, seed: int) -> World:
    """The same for the same numbers. Raises ConfigError if the vocabulary makes fewer items."""
    rng = np.random.default_rng(seed)
    texts, taste_of = _make_items(items, rng)
    by_taste = [rng.permutation(np.flatnonzero(taste_of == taste)) for taste in range(taste_of.max() + 1)]
    by_taste = [members for members in by_taste if len(members)]
    tastes: list[frozenset[int]] = []
    rows: list[tuple[int, int, int]] = []
    for user in range(users):
        own = rng.choice(len(by_taste), rng.integers(TASTES[0], TASTES[1] + 1), replace=False)
        tastes.append(frozenset(int(taste_of[by_taste[taste][0]]) for taste in own))
        now = START + int(rng.integers(SESSION_GAP_S))
        for _ in range(rng.integers(SESSIONS[0], SESSIONS[1] + 1)):
            taste = int(rng.choice(own))
            for _ in range(rng.integers(EVENTS[0], EVENTS[1] + 1)):
                met = int(rng.integers(len(by_taste))) if rng.random() < NOISE else taste
                rows.append((user, _popular(by_taste[met], rng), now))
                now += EVENT_GAP_S
            now += SESSION_GAP_S
    user_of, item_of, times = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    return World([f"i{row:06d}" for row in range(items)], texts, taste_of, tastes, user_of, item_of, times)


def _make_items(count: int, rng: np.random.Generator) -> tuple[list[str], NDArray[np.int64]]:
    """Different texts, and the kind of thing that each is about."""
    words: dict[str, Any] = tomllib.loads(VOCABULARY.read_text(encoding="utf-8"))
    brands, qualities = words["slots"]["brand"], words["slots"]["quality"]
    kinds = [(thing, topic["detail"]) for topic in words["topics"] for thing in topic["thing"]]
    ends = np.cumsum([len(details) * len(brands) * len(qualities) for _, details in kinds])
    if count > ends[-1]:
        raise ConfigError(
            f"--items must be at most {ends[-1]:,}, which is what {VOCABULARY} has words for; not {count:,}"
        )
    chosen = rng.permutation(ends[-1])[:count]
    taste_of = np.searchsorted(ends, chosen, side="right").astype(np.int64)
    texts = []
    for number, taste in zip(chosen.tolist(), taste_of.tolist(), strict=True):
        thing, details = kinds[taste]
        within, detail = divmod(int(ends[taste]) - 1 - number, len(details))
        brand, quality = divmod(within, len(qualities))
        texts.append(f"{brands[brand]} {thing}, {qualities[quality]}. {details[detail]}")
    return texts, taste_of


def _popular(items: NDArray[np.int64], rng: np.random.Generator) -> int:
    weights = 1.0 / (np.arange(len(items)) + _ZIPF_SHIFT)
    return int(items[np.searchsorted(np.cumsum(weights / weights.sum()), rng.random()).clip(0, len(items) - 1)])


def write_catalogue(world: World, path: Path) -> None:
    """The items, as ``tesserank export`` reads them."""
    rows = zip(world.item_ids, world.texts, strict=True)
    _write(path, (json.dumps({"item_id": item_id, "text": text}) + "\n" for item_id, text in rows))


def write_events(world: World, events: NDArray[np.int64], path: Path) -> None:
    """The events at the positions ``events``, as ``tesserank export`` reads them."""

    def lines() -> Iterable[str]:
        for event in events.tolist():
            line = io.StringIO()
            row = (f"u{world.user[event]:05d}", world.item_ids[world.item[event]], world.timestamp[event], "view")
            csv.writer(line, lineterminator="\n").writerow(row)
            yield line.getvalue()

    _write(path, ["user_id,item_id,timestamp,kind\n", *lines()])


def _write(path: Path, lines: Iterable[str]) -> None:
    """The same bytes for the same lines, or an export would begin anew."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(lines).encode(), compresslevel=6, mtime=0))
