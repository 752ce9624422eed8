"""The technique as it was first proposed, on its case study: 1,000 users, 100,000 items, 50 dimensions, 5 batches.

Sparse features → embeddings → segments in their spaces → the transformer → y_i = Σ_k y_ik → argsort, each step timed
by itself and each ranking judged; beside it sequence classification of (history, item) pairs by the same backbone,
timed on a sample and extrapolated. Users and items are made up (the export of 100,000 items takes some minutes, and is
kept).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from threadpoolctl import threadpool_limits

from tesserank.arguments import check_least
from tesserank.artifact.bundle import open_segments, open_template
from tesserank.artifact.layout import Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.artifact.store import current_artifact
from tesserank.encoding.engine import OnnxEngine
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.errors import ConfigError
from tesserank.index import load_index
from tesserank.paths import BUILD, CHECKOUT
from tesserank.segments.config import AggregationConfig, HistoryConfig, SegmentsConfig
from tesserank.serving.cross import PairScorer
from tesserank.serving.request import UserContext
from tesserank_bench.case_study import embeddings, report
from tesserank_bench.case_study.features import make_features
from tesserank_bench.case_study.pairs import ROWS, sample_pairs, time_pairs
from tesserank_bench.case_study.plan import FULL, QUICK, THREADS, Plan
from tesserank_bench.case_study.quality import Quality
from tesserank_bench.case_study.segments import SegmentRanking
from tesserank_bench.case_study.world import World, make_world, write_catalogue, write_events
from tesserank_bench.results import deliver
from tesserank_evaluation.conditions import Machine
from tesserank_export.events import Events
from tesserank_export.heldout import HeldOut, hold_out_last

NAME = "case-study-cpu"
WORK = BUILD / "bench" / "case-study"
SEGMENTS_FILE = CHECKOUT / "benchmarks" / "segments" / "case-study.toml"
# Items that one and the same user met alone have nearly the same collaborative vector: which of them are the ten
# nearest is a matter of rounding, whatever the precision. 0.979 was measured where 0.98 is asked of other catalogues.
TOLERANCE = "index.top10_agreement=0.95"
PROPOSED = "segments, both spaces: Σ_k y_ik"
FIRST_BATCH, NOW = "the same, first batch", "as configured by default now, first batch"

Result = dict[str, Any]
Scores = Callable[[slice], NDArray[np.float32]]  # of the users of a batch: [n, items]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``tesserank bench case-study``."""
    for name, value in asdict(FULL).items():
        option = name.replace("_", "-")
        parser.add_argument(
            f"--{option}", type=int, metavar="N", help=f"default {value:,}; --quick {getattr(QUICK, name):,}"
        )
    parser.add_argument("--work", type=Path, default=WORK, metavar="DIR", help="where exports are kept (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Measure and save; 0."""
    console = Console(soft_wrap=True, highlight=False)
    plan = _plan(args)
    study = CaseStudy(plan, args.seed, console.print)
    artifact = study.export(args.work / f"{plan.users}-{plan.items}-{plan.dim}-{args.seed}")
    machine = Machine(args.seed, {"maxsim": THREADS, "encoder": THREADS})
    result = study.measure(artifact)
    result |= {"benchmark": "case-study", "quick": args.quick, "conditions": machine.conditions()}
    report.show(console, result)
    deliver(args, NAME, result)
    return 0


def _plan(args: argparse.Namespace) -> Plan:
    default = QUICK if args.quick else FULL
    check_least(args, dict.fromkeys(asdict(default), 1))
    named = {name: value for name in asdict(default) if (value := getattr(args, name)) is not None}
    plan = replace(default, **named)
    if plan.batches > plan.users:
        raise ConfigError(f"--batches {plan.batches} of --users {plan.users}: a batch has a user at least")
    return plan


class CaseStudy:
    """The world, its hidden items, and the steps."""

    def __init__(self, plan: Plan, seed: int, say: Callable[[str], None]) -> None:
        self.plan, self.seed, self._say = plan, seed, say
        say(f"{plan.users:,} users, {plan.items:,} items")
        self.world = make_world(plan.users, plan.items, seed)
        self.events = _events(self.world)
        self.held: HeldOut = hold_out_last(self.events, plan.users, seed)
        self._tastes = [self.world.tastes[user] for user in self.held.users]

    def export(self, work: Path) -> Path:
        """The artefact of the catalogue and of all events but the hidden ones."""
        catalogue, train = work / "items.jsonl.gz", work / "train.csv.gz"
        write_catalogue(self.world, catalogue)
        hidden = dict(zip(self.held.users.tolist(), self.held.targets.tolist(), strict=True))
        known = [hidden.get(int(u)) != int(i) for u, i in zip(self.world.user, self.world.item, strict=True)]
        write_events(self.world, np.flatnonzero(known), train)
        self._say("export: minutes if it is the first, and part of no figure")
        command = [sys.executable, "-m", "tesserank", "export", "--catalog", catalogue, "--events", train]
        command += ["--segments", SEGMENTS_FILE, "--dim", self.plan.dim, "--collaborative-dim", self.plan.dim]
        command += ["--artifacts", work / "artifacts", "--model-repository", work / "model_repository"]
        command += ["--tolerance", TOLERANCE]
        with (work / "export.log").open("wb") as log:
            done = subprocess.run(list(map(str, command)), stdout=log, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            tail = "\n".join((work / "export.log").read_text(encoding="utf-8", errors="replace").splitlines()[-5:])
            raise ConfigError(f"the export ended with status {done.returncode}; the end of its log:\n{tail}")
        return current_artifact(work / "artifacts" / "default")

    def measure(self, artifact: Path) -> Result:
        """Every step in turn."""
        plan, items = self.plan, len(self.world.item_ids)
        self._say("1 sparse features")
        features, made_features = make_features(self.held.train, items)
        self._say("2 embeddings")
        vectors, made_embeddings = embeddings.make_embeddings(self.held, items, plan.dim, self.seed)
        quality = {
            "popularity": self._judge(lambda batch: features.popularity(self.held.users[batch])),
            "users alike (TF-IDF cosine)": self._judge(lambda batch: features.by_neighbours(self.held.users[batch])),
        }
        for method, name in embeddings.NAMES.items():
            quality[name] = self._judge(partial(self._by_vectors, vectors[method]))
        self._say("3 to 8 segments → transformer → y_ik → sum → argsort")
        with threadpool_limits(1, "blas"):  # as in the server: items are spread over threads
            config = open_segments(artifact, load_index(Layout(artifact).index))
            ranking, judged = self._rank(artifact, config, self._batches())
            quality |= {PROPOSED: judged["all"].result()} | {
                f"segments, {space} space alone": own.result() for space, own in judged.items() if space != "all"
            }
            first = self._batches()[:1]  # enough to compare, and the other way takes as long again
            quality[FIRST_BATCH] = judged["all"].result(first[0].stop)
            quality[NOW] = self._rank(artifact, as_now(config), first)[1]["all"].result()
        self._say("instead: pairs through the cross-encoder")
        pairs = self._time_pairs(artifact)
        spent = sum(step["seconds"] for step in ranking["steps"])
        everything = pairs["extrapolated_seconds"] * len(self.held.users) / plan.users
        return {
            "world": asdict(plan) | {"events": len(self.events), "ranked_users": len(self.held.users)},
            "artifact": load_manifest(artifact, []).artifact_id,
            "features": made_features,
            "embeddings": made_embeddings,
            "segments": ranking,
            "pairs": pairs,
            "ratio": {"segments_seconds": round(spent, 3), "times": round(everything / spent, 1)},
            "quality": quality,
        }

    def _by_vectors(self, vectors: NDArray[np.float32], batch: slice) -> NDArray[np.float32]:
        return embeddings.scores(vectors, self.held.histories[batch])

    def _batches(self) -> list[slice]:
        """Positions of the users of each batch."""
        edges = np.linspace(0, len(self.held.users), self.plan.batches + 1).astype(int).tolist()
        return [slice(first, stop) for first, stop in pairwise(edges)]

    def _quality(self) -> Quality:
        return Quality(self.held, self.world.taste_of, self._tastes)

    def _judge(self, scores: Scores) -> Result:
        quality = self._quality()
        for batch in self._batches():
            quality.add(scores(batch), batch.start)
        return quality.result()

    def _rank(
        self, artifact: Path, config: SegmentsConfig, batches: Sequence[slice]
    ) -> tuple[Result, dict[str, Quality]]:
        """What the steps took; quality by space, and of "all" of them."""
        layout, precision = Layout(artifact), load_manifest(artifact, []).precision
        ranking = SegmentRanking(
            load_index(layout.index), config, open_template(artifact), TextTokenizer(layout.tokenizer),
            OnnxEngine.for_precision(layout.encoder(precision), precision, THREADS), THREADS,
        )  # fmt: skip
        contexts = self.contexts()
        ranking.warm_up(contexts[-1])
        judged: dict[str, Quality] = {}
        for batch in batches:
            rows: dict[str, list[NDArray[np.float32]]] = {}
            for scores, _ in ranking.rank(contexts[batch]):
                for space, own in scores.items():
                    rows.setdefault(space, []).append(own)
            for space, own_rows in rows.items():
                judged.setdefault(space, self._quality()).add(np.stack(own_rows), batch.start)
        return ranking.result(), judged

    def contexts(self) -> list[UserContext]:
        """The users of ``held`` as requests say them: their events before the hidden one, with times."""
        train, made = self.held.train, []
        for user in self.held.users.tolist():
            own = slice(train.offsets[user], train.offsets[user + 1])
            ids = [self.world.item_ids[item].encode() for item in train.item[own]]
            made.append(UserContext(ids, train.timestamp[own]))
        return made

    def _time_pairs(self, artifact: Path) -> Result:
        layout, config = Layout(artifact), SegmentsConfig()
        precision = load_manifest(artifact, []).precision
        scorer = PairScorer(
            TextTokenizer(layout.tokenizer), open_template(artifact),
            OnnxEngine.for_precision(layout.cross_encoder(precision), precision, THREADS), ROWS, config.limits,
        )  # fmt: skip
        last = config.history.max_events
        texts = self.world.texts
        histories = [". ".join(texts[item] for item in history[-last:]) for history in self.held.histories]
        pairs = sample_pairs(histories, texts, self.plan.timed_pairs, self.seed)

        def score(history: str, items: Sequence[str]) -> NDArray[Any]:
            return scorer.score([history.encode()], [[item.encode() for item in items]])

        return {"precision": precision} | time_pairs(score, pairs, self.plan.users * self.plan.items)


def as_now(config: SegmentsConfig) -> SegmentsConfig:
    """The same segments, weighted and aggregated as a segments file's defaults do."""
    history = HistoryConfig()
    return replace(
        config,
        history=replace(config.history, recency=history.recency, spaces=history.spaces),
        aggregation=AggregationConfig(),
    )


def _events(world: World) -> Events:
    """The world's events as the export's code has them."""
    return Events(
        users=tuple(f"u{user:05d}" for user in range(len(world.tastes))),
        kinds=("view",),
        user=world.user.astype(np.int32),
        item=world.item.astype(np.int32),
        timestamp=world.timestamp,
        kind=np.zeros(len(world.user), dtype=np.int32),
    )
