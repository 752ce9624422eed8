"""Sample catalogues and event logs: made up, readable, the same bytes for the same seed.

    python -m examples.sample_data --scenario ecommerce --out build/sample/ecommerce

Users have planted tastes, one to three topics each, so that recommendations can be judged by eye: a scenario's words
and the habits of its users stand in its ``topics.toml``.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import os
import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXAMPLES = Path(__file__).parent
SCENARIOS = ("ecommerce", "social", "video")

ITEMS_PER_TOPIC = 50
USERS = 300
SESSIONS_PER_USER = (3, 8)
EVENTS_PER_SESSION = (1, 6)
TASTES_PER_USER = (1, 3)
SHOWCASE_SESSIONS = 5
# One event in eight has nothing to do with the user's tastes.
NOISE = 0.125
# Within a session events are less than half an hour apart, which is where `session_gap_s` cuts.
EVENT_GAP_S = (20, 900)
SESSION_GAP_S = (6 * 3600, 14 * 86_400)
START = 1_704_067_200  # 2024-01-01 00:00 UTC
FIRST_SESSION_WITHIN_S = 30 * 86_400


@dataclass(frozen=True)
class Item:
    """A row of the catalogue; ``category`` is its topic."""

    item_id: str
    text: str
    title: str
    category: str


@dataclass(frozen=True)
class Event:
    """``timestamp`` in Unix seconds."""

    user_id: str
    item_id: str
    timestamp: int
    kind: str


@dataclass(frozen=True)
class Showcase:
    """The user whose recommendations the demo shows; not in the event log. Parallel lists, oldest event first."""

    user_id: str
    tastes: list[str]
    item_ids: list[str]
    timestamps: list[int]
    kinds: list[str]
    texts: dict[str, str]


@dataclass(frozen=True)
class SamplePaths:
    """What ``write_sample`` wrote."""

    items: Path
    events: Path
    showcase: Path
    tastes: Path  # of the log's users: topics by user id

    @classmethod
    def within(cls, directory: Path) -> SamplePaths:
        return cls(
            directory / "items.jsonl.gz",
            directory / "events.csv.gz",
            directory / "showcase.json",
            directory / "tastes.json",
        )


def write_sample(scenario: str, directory: str | Path, seed: int = 0) -> SamplePaths:
    """Write a catalogue, an event log, the showcase user and everybody's tastes into ``directory``.

    ``scenario`` is one of SCENARIOS.

    Equal seeds give equal bytes. Each file appears whole or not at all.
    """
    words = _vocabulary(scenario)
    # Seeded with a string, which Python hashes the same way everywhere.
    rng = random.Random(f"{scenario}/{seed}")
    items = make_items(words, rng)
    by_topic = _by_topic(items)
    events, tastes = make_events(words, by_topic, rng)
    showcase = make_showcase(words, by_topic, rng)

    paths = SamplePaths.within(Path(directory))
    paths.items.parent.mkdir(parents=True, exist_ok=True)
    _write_whole(paths.items, _compress(_json_lines(items)))
    _write_whole(paths.events, _compress(_csv_text(events)))
    _write_whole(paths.showcase, json.dumps(asdict(showcase), indent=2, ensure_ascii=False).encode() + b"\n")
    _write_whole(paths.tastes, json.dumps(tastes, indent=2, ensure_ascii=False).encode() + b"\n")
    return paths


def read_showcase(path: str | Path) -> Showcase:
    """The showcase user that ``write_sample`` wrote."""
    return Showcase(**json.loads(Path(path).read_text(encoding="utf-8")))


def make_items(words: dict[str, Any], rng: random.Random) -> list[Item]:
    """ITEMS_PER_TOPIC items a topic, each a different pair of thing and detail, in an order that hides the topic."""
    drafts: list[tuple[str, str, str]] = []
    for topic in words["topics"]:
        pairs = list(product(topic["thing"], topic["detail"]))
        for thing, detail in rng.sample(pairs, ITEMS_PER_TOPIC):
            slots = {name: rng.choice(values) for name, values in words["slots"].items()}
            slots |= {"thing": thing, "detail": detail}
            drafts.append((words["text"].format(**slots), words["title"].format(**slots), topic["name"]))
    rng.shuffle(drafts)
    return [Item(f"{words['id_prefix']}{1000 + position}", *draft) for position, draft in enumerate(drafts)]


def make_events(
    words: dict[str, Any], by_topic: dict[str, list[str]], rng: random.Random
) -> tuple[list[Event], dict[str, list[str]]]:
    """The sessions of USERS users, sorted by user and time; and the tastes of each."""
    events: list[Event] = []
    tastes: dict[str, list[str]] = {}
    for user in range(USERS):
        user_id = f"u{user:04d}"
        tastes[user_id] = rng.sample(list(by_topic), rng.randint(*TASTES_PER_USER))
        events += _history(user_id, tastes[user_id], rng.randint(*SESSIONS_PER_USER), words, by_topic, rng)
    return events, tastes


def make_showcase(words: dict[str, Any], by_topic: dict[str, list[str]], rng: random.Random) -> Showcase:
    """The user of the vocabulary's [showcase] table, with a history like everybody's."""
    about = words["showcase"]
    history = _history(about["user_id"], about["tastes"], SHOWCASE_SESSIONS, words, by_topic, rng)
    return Showcase(
        user_id=about["user_id"],
        tastes=about["tastes"],
        item_ids=[event.item_id for event in history],
        timestamps=[event.timestamp for event in history],
        kinds=[event.kind for event in history],
        texts=about["texts"],
    )


def _history(
    user_id: str,
    tastes: Sequence[str],
    sessions: int,
    words: dict[str, Any],
    by_topic: dict[str, list[str]],
    rng: random.Random,
) -> list[Event]:
    """Sessions days apart; each is about one of the user's tastes, give or take some noise."""
    events: list[Event] = []
    now = START + rng.randrange(FIRST_SESSION_WITHIN_S)
    for _ in range(sessions):
        taste = rng.choice(tastes)
        for _ in range(rng.randint(*EVENTS_PER_SESSION)):
            topic = rng.choice(list(by_topic)) if rng.random() < NOISE else taste
            item_id = _popular_choice(by_topic[topic], rng)
            kind = rng.choices(list(words["kinds"]), list(words["kinds"].values()))[0]
            events.append(Event(user_id, item_id, now, kind))
            now += rng.randint(*EVENT_GAP_S)
        now += rng.randint(*SESSION_GAP_S)
    return events


def _popular_choice(item_ids: Sequence[str], rng: random.Random) -> str:
    """A topic's items are met by Zipf's law, the first most often."""
    return rng.choices(item_ids, [1.0 / (rank + 3) for rank in range(len(item_ids))])[0]


def _vocabulary(scenario: str) -> dict[str, Any]:
    if scenario not in SCENARIOS:
        raise ValueError(f"scenario {scenario!r}: one of {', '.join(SCENARIOS)} is needed")
    return tomllib.loads((EXAMPLES / scenario / "topics.toml").read_text(encoding="utf-8"))


def _by_topic(items: Iterable[Item]) -> dict[str, list[str]]:
    topics: dict[str, list[str]] = {}
    for item in items:
        topics.setdefault(item.category, []).append(item.item_id)
    return topics


def _json_lines(rows: Iterable[Item]) -> str:
    return "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)


def _csv_text(events: Iterable[Event]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["user_id", "item_id", "timestamp", "kind"])
    writer.writerows((event.user_id, event.item_id, event.timestamp, event.kind) for event in events)
    return stream.getvalue()


def _compress(text: str) -> bytes:
    # gzip writes the time of day into its header unless told not to.
    return gzip.compress(text.encode("utf-8"), mtime=0)


def _write_whole(path: Path, data: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(data)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.sample_data", description="Write sample data.")
    parser.add_argument("--scenario", choices=SCENARIOS, required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="DIRECTORY")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    for path in asdict(write_sample(options.scenario, options.out, options.seed)).values():
        print(path)


if __name__ == "__main__":
    main()
