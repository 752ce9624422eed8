"""How much of the planted tastes is found: python -m examples.tastes --scenario social

Users of the sample log are ranked the whole catalogue, less what they met, and so is the showcase user: what share of
the ten best items is of a topic that was planted as the user's taste? Beside it what the most popular items give, and
what chance does. In this process, from an export of the sample (of ``make demo``, say).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from examples.sample_data import SCENARIOS, SamplePaths, Showcase, read_showcase, write_sample
from tesserank.artifact.bundle import open_segments, open_template
from tesserank.artifact.layout import Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.artifact.store import current_artifact
from tesserank.encoding.cache import SegmentCache
from tesserank.encoding.engine import OnnxEngine
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.index import load_index
from tesserank.paths import ARTIFACTS, BUILD
from tesserank.segments.config import SegmentsConfig
from tesserank.serving.embedder import SegmentEmbedder
from tesserank.serving.request import RankingOptions, Text, UserContext
from tesserank.serving.scorer import SegmentScorer

USERS = 100
TOP_K = 10
CACHE_BYTES = 1 << 28


@dataclass(frozen=True)
class User:
    """A history, oldest first, as parallel lists; and the topics that it was made of."""

    tastes: Sequence[str]
    item_ids: Sequence[str]
    timestamps: Sequence[int]
    kinds: Sequence[str]


@dataclass(frozen=True)
class Sample:
    """A sample catalogue's topics by item id, the users of its log by id, and the showcase user."""

    topic_of: Mapping[str, str]
    users: Mapping[str, User]
    showcase: Showcase

    @classmethod
    def read(cls, paths: SamplePaths) -> Sample:
        with gzip.open(paths.items, "rt", encoding="utf-8") as lines:
            topic_of = {item["item_id"]: item["category"] for item in map(json.loads, lines)}
        tastes = json.loads(paths.tastes.read_text(encoding="utf-8"))
        histories: dict[str, list[tuple[str, int, str]]] = {user_id: [] for user_id in tastes}
        with gzip.open(paths.events, "rt", encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                histories[row["user_id"]].append((row["item_id"], int(row["timestamp"]), row["kind"]))
        users = {user_id: User(tastes[user_id], *zip(*rows, strict=True)) for user_id, rows in histories.items()}
        return cls(topic_of, users, read_showcase(paths.showcase))

    def share_found(self, item_ids: Sequence[str], tastes: Sequence[str]) -> float:
        """The share of the items that is of these topics."""
        return float(np.mean([self.topic_of[item_id] in tastes for item_id in item_ids]))

    def share_by_chance(self, user: User) -> float:
        """The same share of the whole catalogue, less the user's own items."""
        return self.share_found([item for item in self.topic_of if item not in set(user.item_ids)], user.tastes)

    def most_popular(self, user: User) -> list[str]:
        """The items that most events name, less the user's own."""
        counts = Counter(item_id for other in self.users.values() for item_id in other.item_ids)
        for item_id in set(user.item_ids):
            del counts[item_id]
        return [item_id for item_id, _ in counts.most_common(TOP_K)]


class Ranker:
    """Ranks the catalogue of an artefact in process, by the artefact's segments file or a variation of it."""

    def __init__(self, artifact: Path) -> None:
        layout, precision = Layout(artifact), load_manifest(artifact, []).precision
        self._index = load_index(layout.index)
        self._template, self._tokenize = open_template(artifact), TextTokenizer(layout.tokenizer)
        self._encode = OnnxEngine.for_precision(layout.encoder(precision), precision, threads=2)
        self._cache = SegmentCache(CACHE_BYTES)
        self.config = open_segments(artifact, self._index)

    def top(self, config: SegmentsConfig, contexts: Sequence[UserContext]) -> list[list[str]]:
        """The ids of each user's best TOP_K items, their own left out."""
        embedder = SegmentEmbedder(self._index, config, self._template, self._tokenize, self._cache, self._encode)
        users = embedder.embed(contexts).segments
        options = [RankingOptions(history=context.item_ids, top_k=TOP_K) for context in contexts]
        rankings = SegmentScorer(self._index, config).rank(users, options)
        return [[self._index.item_ids[row] for row in ranking.rows] for ranking in rankings]


def context_of(user: User, texts: Mapping[str, str] = {}) -> UserContext:
    """The user as a request says it."""
    return UserContext(
        item_ids=[item_id.encode() for item_id in user.item_ids],
        timestamps=user.timestamps,
        kinds=user.kinds,
        texts=[Text(name, text) for name, text in texts.items()],
    )


def measure(sample: Sample, ranker: Ranker, users: int = USERS) -> dict[str, list[float]]:
    """The share found of each user, by what was ranked by."""
    some = list(sample.users.values())[:users]
    config = ranker.config
    ways = {"history": config}
    for space, weight in config.history.spaces.items():
        ways[f"history, {space} space alone"] = replace(config, history=replace(config.history, spaces={space: weight}))
    shares = {
        what: _shares(sample, some, ranker.top(way, [context_of(user) for user in some])) for what, way in ways.items()
    }
    shares["most popular items"] = _shares(sample, some, [sample.most_popular(user) for user in some])
    shares["chance"] = [sample.share_by_chance(user) for user in some]
    about = sample.showcase
    showcase = User(about.tastes, about.item_ids, about.timestamps, about.kinds)
    for what, context in {
        "showcase user, history": context_of(showcase),
        "showcase user, texts": context_of(User(about.tastes, [], [], []), about.texts),
        "showcase user, both": context_of(showcase, about.texts),
    }.items():
        shares[what] = _shares(sample, [showcase], ranker.top(config, [context]))
    return shares


def _shares(sample: Sample, users: Sequence[User], ranked: Sequence[Sequence[str]]) -> list[float]:
    return [sample.share_found(items, user.tastes) for user, items in zip(users, ranked, strict=True)]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.tastes", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--scenario", choices=SCENARIOS, required=True)
    parser.add_argument("--artifacts", type=Path, default=ARTIFACTS, help="where its export is (%(default)s)")
    args = parser.parse_args(arguments)
    sample = Sample.read(write_sample(args.scenario, BUILD / "sample" / args.scenario))
    shares = measure(sample, Ranker(current_artifact(args.artifacts / args.scenario)))
    table = Table("ranked by", "users", f"of the top {TOP_K}, of a planted taste", "± 1 SE", title=args.scenario)
    for what, found in shares.items():
        error = f"{np.std(found, ddof=1) / len(found) ** 0.5:.3f}" if len(found) > 1 else ""
        table.add_row(what, str(len(found)), f"{np.mean(found):.3f}", error)
    Console().print(table)


if __name__ == "__main__":
    main()
