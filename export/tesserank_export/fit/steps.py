"""The export's step that fits: from the text space and the log to a segments file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tesserank.errors import ConfigError
from tesserank.files import read_json, write_json
from tesserank.segments.config import TEXT_SPACE, SegmentsConfig
from tesserank.segments.cut import HistoryCutter
from tesserank.segments.reader import parse_segments
from tesserank_export.collaborative import Learned, fit_collaborative
from tesserank_export.events import Events
from tesserank_export.fit.candidates import Candidate, Candidates
from tesserank_export.fit.cases import Cases, make_cases
from tesserank_export.fit.choice import Gains, Judge
from tesserank_export.fit.kinds import kind_weights
from tesserank_export.fit.record import fitted_segments, steps_as_dicts
from tesserank_export.fit.scoring import SpaceScores, Way, gains
from tesserank_export.fit.search import Search, Step
from tesserank_export.heldout import PLAIN
from tesserank_export.index_steps import learned_settings, stored_kind
from tesserank_export.options import ExportOptions
from tesserank_export.spaces import make_learned_space
from tesserank_export.steps import Steps, digest_of, digest_of_code
from tesserank_export.text_space import Texts

# With fewer users to predict for, luck decides: the configuration stays as it is.
LEAST_USERS = 50
_SEGMENTS, _RECORD = "segments.toml", "fit.json"


@dataclass(frozen=True)
class Fitted:
    """The text of the fitted segments file, what it says, and the record of how it came about."""

    text: str
    config: SegmentsConfig
    record: dict[str, Any]


class FitStep:
    """Fits a configuration. ``text`` is its segments file's; ``texts``: the items by the encoder as it is."""

    def __init__(
        self,
        options: ExportOptions,
        steps: Steps,
        config: SegmentsConfig,
        text: str,
        texts: Texts,
        item_ids: Sequence[str],
    ) -> None:
        self._options = options
        self._steps = steps
        self._config = config
        self._text = text
        self._texts = texts
        self._item_ids = item_ids
        self._protocol = options.hold_out or PLAIN

    def fit(self, events: Events) -> Fitted:
        """Fit, or take what an earlier run kept. The same log, configuration and seed give the same.

        Raises ConfigError if histories are cut by time and the log has none.
        """
        if self._config.history.cut == "session" and not events.has_times:
            raise ConfigError('history.cut = "session" needs timestamps, which this log lacks: cut by "item"')

        def build(scratch: Path) -> None:
            with threadpool_limits(self._options.threads, "blas"):
                text, record = self._fit(events)
            (scratch / _SEGMENTS).write_text(text, encoding="utf-8")
            write_json(scratch / _RECORD, record)

        options = self._options
        items = [self._texts.identity, digest_of(list(self._item_ids)), digest_of_code(("segments",))]
        inputs = [options.log_identity(), options.seed, options.collaborative_dim, *items, self._text]
        step = self._steps.run("fit", "fit: spaces, weights, aggregation", inputs, build)
        text = (step / _SEGMENTS).read_text(encoding="utf-8")
        return Fitted(text, parse_segments(text), read_json(step / _RECORD))

    def _fit(self, events: Events) -> tuple[str, dict[str, Any]]:
        config, seed = self._config, self._options.seed
        cutter = HistoryCutter(config.history, self._item_ids, np.diff(self._texts.offsets))
        cases = make_cases(events, len(self._texts.items), config, cutter, self._protocol, seed)
        users = len(np.unique(cases.users))
        record: dict[str, Any] = {
            "protocol": self._protocol,
            "cases": len(cases),
            "users": users,
            "seed": seed,
            "fitted": False,
            "steps": [],
        }
        if users < LEAST_USERS:
            self._steps.say(f"  {users} users to predict for, at least {LEAST_USERS} are needed: left as configured")
            return self._text, record
        kind = stored_kind("", config.items.vectors)
        candidates = Candidates(self._texts, cases, config, kind, seed, self._options.threads)
        judge = Judge(cases.users, seed)
        configured = self._configured(candidates, cases, kind)
        self._steps.say(f"  as configured: NDCG@10 {configured.mean():.4f} on {len(cases):,} cases")
        search = Search(cases, judge, self._steps.say)
        search.run(candidates)
        found = search.gains if search.chosen else np.zeros(len(cases))
        gain = judge.difference(found, configured)
        search.steps.append(Step("fitted against as configured", float(found.mean()), gain, gain.is_gain))
        self._steps.say(f"  fitted: NDCG@10 {found.mean():.4f} ({gain.mean:+.4f} ± {gain.error:.4f})")
        record["steps"] = steps_as_dicts(search.steps)
        record["fitted"] = gain.is_gain
        if not gain.is_gain:
            return self._text, record
        return fitted_segments(self._text, config, search.chosen, kind_weights(search.cases)), record

    def _configured(self, candidates: Candidates, cases: Cases, kind: str) -> Gains:
        """NDCG@10 of the cases [C] with the configuration as it is."""
        total = np.zeros((len(cases), len(self._texts.items)), dtype=np.float32)
        for channel in self._config.channels():
            if channel.source == "history":
                candidate = self._candidate(channel.space, candidates, cases, kind)
                way = Way(channel.method, channel.temperature, channel.recency, channel.max_events)
                total += np.float32(channel.weight) * candidate.scores.scores(way)
        return gains(total, cases)

    def _candidate(self, name: str, candidates: Candidates, cases: Cases, kind: str) -> Candidate:
        if name == TEXT_SPACE:
            return candidates.configured_text
        settings = learned_settings(self._config, name, self._options.collaborative_dim)
        if name != "collaborative":
            return candidates.learned(name, settings)
        n_items = len(self._texts.items)
        vectors = fit_collaborative(cases.train, n_items, settings.dim, self._options.seed).vectors
        space = make_learned_space(name, Learned(vectors), kind)
        most = self._config.history.spaces[name].max_events or self._config.history.max_events
        return Candidate(name, settings, SpaceScores.of_items(space, cases, most), Way("sum", 1.0, 1.0, most))
