"""What takes part in an evaluation: a baseline, tesserank in this process, or tesserank as a server serves it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tesserank.artifact.layout import Layout
from tesserank.index import load_index
from tesserank_client import Client
from tesserank_evaluation.artifact import HeldOutArtifact
from tesserank_evaluation.late_interaction import opened
from tesserank_evaluation.ranking import Advance, Ranked, rank
from tesserank_evaluation.recommender import Fit, Training
from tesserank_evaluation.split import Cases
from tesserank_evaluation.through_server import ServedRanks
from tesserank_export.catalog import Catalog

TESSERANK, SERVED = "tesserank", "tesserank-served"
_CHECKED_USERS = 8


@dataclass(frozen=True)
class Outcome:
    """Ranks, the seconds that fitting or opening took, and what is worth saying of how it was done."""

    ranked: Ranked
    fit_seconds: float
    settings: Mapping[str, Any]


class Contender(Protocol):
    """Ranks the cases of one protocol. ``check`` and ``identity`` are cheap."""

    def check(self, cases: Cases) -> None:
        """Raise TesserankError if it cannot take part; asked of all, before anything is exported or ranked."""
        return

    def identity(self, cases: Cases) -> Mapping[str, Any]:
        """What decides its ranks beside users, log, artefact and seed, in words of JSON.

        Figures of one identity are not those of another: ``--resume`` keeps them only where it is the same.
        """
        return {}

    def rank(self, cases: Cases, artifact: HeldOutArtifact, advance: Advance) -> Outcome:
        """Ranks of the cases' targets. ``advance`` is told how many users are done."""
        ...


@dataclass(frozen=True)
class Baseline(Contender):
    """Fitted on what the protocol keeps of the log, and forgotten when it has ranked.

    ``asked``: options of the fit, or among which it chooses.
    """

    fit: Fit
    catalog: Catalog
    seed: int
    asked: Mapping[str, Any] = field(default_factory=dict)

    def identity(self, cases: Cases) -> Mapping[str, Any]:
        """See ``Contender``."""
        return self.asked

    def rank(self, cases: Cases, artifact: HeldOutArtifact, advance: Advance) -> Outcome:
        """See ``Contender``."""
        started = time.perf_counter()
        index = load_index(Layout(artifact.root).index)
        recommender = self.fit(Training(cases.held.train, self.catalog.texts, index, self.seed, cases.protocol))
        fitted = time.perf_counter() - started
        return Outcome(rank(recommender, cases, len(self.catalog), advance), fitted, recommender.settings)


@dataclass(frozen=True)
class InProcess(Contender):
    """The request path without a server, searching exhaustively."""

    catalog: Catalog
    threads: int
    memory_bytes: int

    def rank(self, cases: Cases, artifact: HeldOutArtifact, advance: Advance) -> Outcome:
        """See ``Contender``."""
        started = time.perf_counter()
        with opened(artifact.root, self.threads, self.memory_bytes) as recommender:
            fitted = time.perf_counter() - started
            ranked = rank(recommender, cases, len(self.catalog), advance)
            units = recommender.units
            settings = {
                "artifact": artifact.manifest.artifact_id,
                "fitted_on": artifact.fitted_on,
                "unanswered": recommender.unanswered,
                "truncated_tokens": recommender.truncated_tokens,
                "units_computed": units.computed,
                "units_remembered": units.remembered,
            }
        return Outcome(ranked, fitted, settings)


@dataclass(frozen=True)
class Served(Contender):
    """A running server, checked to serve the artefact."""

    catalog: Catalog
    url: str
    timeout_s: float
    threads: int

    def rank(self, cases: Cases, artifact: HeldOutArtifact, advance: Advance) -> Outcome:
        """See ``Contender``."""
        with Client(self.url, timeout=self.timeout_s) as client:
            started = time.perf_counter()
            with opened(artifact.root, self.threads, memory_bytes=0) as expected:
                served = ServedRanks(client, self.catalog, expected.limits.max_history_events)
                served.check_serves(expected, cases.histories[:_CHECKED_USERS])
            checked = time.perf_counter() - started
            ranked = served.rank(cases, advance)
        settings = {
            "artifact": artifact.manifest.artifact_id,
            "fitted_on": artifact.fitted_on,
            "unanswered": served.unanswered,
            "cut_ties": served.cut_ties,
        }
        return Outcome(ranked, checked, settings)
