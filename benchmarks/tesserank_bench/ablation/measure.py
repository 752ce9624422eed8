"""Rows ranked for the same users, each kept when it is done, so that a run goes on where the last one ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from tesserank.artifact.manifest import load_manifest
from tesserank.errors import ArtifactError
from tesserank.files import read_json, write_json
from tesserank.segments.reader import parse_segments
from tesserank_bench.ablation.exports import text_of
from tesserank_bench.ablation.features import FEATURES
from tesserank_bench.ablation.rows import Row, Table
from tesserank_evaluation.baselines.newest import Newest
from tesserank_evaluation.late_interaction import OpenArtifact, TesserankInProcess
from tesserank_evaluation.metrics import coverage, gains, mean_and_error
from tesserank_evaluation.paired import Ranks, load_ranks, save_ranks
from tesserank_evaluation.ranking import Ranked, rank
from tesserank_evaluation.recommender import Recommender, Training
from tesserank_evaluation.split import Cases
from tesserank_export.catalog import Catalog

SHOWN = ("ndcg@10", "recall@10", "mrr@10")
Entry = dict[str, Any]


class Kept:
    """Entries and ranks by row, in two files of one directory. A row that has changed since is not kept."""

    def __init__(self, directory: Path) -> None:
        self._entries, self._ranks = directory / "rows.json", directory / "ranks.npz"
        self.entries: dict[str, Entry] = read_json(self._entries) if self._entries.exists() else {}
        self.ranks: Ranks = load_ranks(self._ranks)

    def has(self, row: Row) -> bool:
        """Whether this very row was measured."""
        found = self.entries.get(row.name)
        return found is not None and ("", row.name) in self.ranks and found["row"] == described(row)

    def add(self, row: Row, entry: Entry, ranked: Ranked) -> None:
        """Keep a row, on disk too."""
        self.entries[row.name] = entry
        self.ranks["", row.name] = np.stack([ranked.better, ranked.tied])
        self._entries.parent.mkdir(parents=True, exist_ok=True)
        save_ranks(self._ranks, self.ranks)
        write_json(self._entries, self.entries)


def described(row: Row) -> Entry:
    """A row as JSON says it."""
    return {key: value for key, value in asdict(row).items() if key != "name" and value not in ({}, None)}


@dataclass(frozen=True)
class Bench:
    """What all rows have in common."""

    catalog: Catalog
    cases: Cases
    full: Table
    seed: int
    console: Console

    def measure(self, row: Row, opened: OpenArtifact, artifact: Path) -> tuple[Entry, Ranked]:
        """Rank for every case. ``opened`` is the artefact that the row's group shares."""
        started = perf_counter()
        recommender = self._recommender(row, opened)
        prepared = perf_counter() - started
        with Progress(console=self.console, transient=True) as progress:
            task = progress.add_task(row.name, total=len(self.cases))
            advance: Callable[[int], None] = lambda count: progress.advance(task, count)  # noqa: E731
            ranked = rank(Newest(recommender, row.newest), self.cases, len(self.catalog), advance)
        metrics = {
            name: mean_and_error(own) for name, own in gains(ranked.better, ranked.tied).items() if name in SHOWN
        }
        entry: Entry = {
            "row": described(row),
            "artifact": load_manifest(artifact, []).artifact_id,
            "metrics": metrics | coverage(ranked.lists, len(self.catalog)),
            "seconds": {"prepare": round(prepared, 2), "rank": round(ranked.seconds, 2)},
        }
        if isinstance(recommender, TesserankInProcess):
            entry["unanswered"] = recommender.unanswered
            entry["truncated_tokens"] = recommender.truncated_tokens
        return entry, ranked

    def _recommender(self, row: Row, opened: OpenArtifact) -> Recommender:
        if row.features is not None:
            training = Training(self.cases.held.train, self.catalog.texts, opened.index, self.seed, self.cases.protocol)
            return FEATURES[row.features](training)
        config = parse_segments(text_of(row.segments(self.full)))
        missing = set(config.spaces()) - set(opened.index.spaces)
        if missing:
            raise ArtifactError(f"{row.name}: index {opened.index.index_id} has no space {', '.join(sorted(missing))}")
        return opened.recommender(config)
