"""What is chosen, in which order: each space by itself, then together, one more at a time while it is worth it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tesserank.segments.config import TEXT_SPACE, ItemsConfig, LearnedConfig
from tesserank_export.fit.candidates import (
    LONG_HISTORY,
    POPULARITY,
    REGRESSIONS,
    Candidate,
    Candidates,
    other_projections,
    other_token_weights,
)
from tesserank_export.fit.cases import Cases
from tesserank_export.fit.choice import Difference, Gains, Judge
from tesserank_export.fit.kinds import other_kind_weights, with_kind_weight
from tesserank_export.fit.scoring import Scores, Way, gains

RECENCIES = (1.0, 0.8, 0.6, 0.4, 0.25)
LONG_RECENCIES = (1.0, 0.98, 0.95, 0.9)  # of LONG_HISTORY
TEMPERATURES = (4.0, 2.0, 1.0)
# A space's weight when it is added: so many times that at which its scores vary as much as all those before together.
RATIOS = tuple(2.0**power for power in range(-5, 3))
FINER = (0.7, 1.4)
# A space costs bytes in the index and time in every request: it must bring at least this share of the NDCG without it.
LEAST_GAIN = 0.01


@dataclass
class Chosen:
    """A space in use: scores [C, n] of weight 1, in the way it is aggregated, and its weight."""

    candidate: Candidate
    way: Way
    scores: Scores
    weight: float = 1.0


@dataclass(frozen=True)
class Step:
    """One decision: NDCG@10 with it on the cases that had no say in it, what that gained, and whether it was taken."""

    what: str
    ndcg: float
    gain: Difference
    taken: bool


@dataclass
class Search:
    """Searches on ``cases``; ``chosen`` is what it found, ``steps`` how."""

    cases: Cases
    judge: Judge
    say: Callable[[str], None]
    chosen: list[Chosen] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def run(self, candidates: Candidates) -> None:
        """Fill ``chosen`` and ``steps``. ``candidates`` learns what is asked for."""
        text = candidates.configured_text
        rivals = [self._alone(Chosen(text, text.way, text.scores.scores(text.way)))]
        for name, lists in candidates.variants():
            first = candidates.learned(name, lists[0][0])
            rivals += [self._best_variant(candidates, first, lists), self._in_a_long_role(first)]
        rivals += [Chosen(own, own.way, own.scores.scores(own.way)) for own in candidates.priors()]
        rivals = [rival for rival in rivals if not rival.candidate.scores.is_empty]
        if not rivals:
            return
        self._begin(rivals)
        while rivals and self._add(rivals):
            pass
        rivals.clear()  # their scores are what takes memory
        for chosen in self.chosen:
            if chosen.candidate.name != POPULARITY:  # whose number is the same whatever the history
                self._retune(chosen)
            if chosen.candidate.name == TEXT_SPACE:
                self._remake(chosen, candidates)
        self._weigh_kinds()
        self._reweigh()
        self._prune()

    # Each by itself

    def _best_variant(
        self, candidates: Candidates, first: Candidate, lists: Sequence[Sequence[LearnedConfig]]
    ) -> Chosen:
        """More dimensions may be of use to longer histories alone, and the other way round: both are tried together."""
        name = first.name
        best, *rivals = self._both_ways(first)
        for position, settings in enumerate(lists):
            for own in settings[1:] if position == 0 else settings:
                own = own if position == 0 else replace(_settings(best), dim=own.dim)
                rivals += self._both_ways(candidates.learned(name, own))
            best = self._better(f"{name} alone", best, rivals, _described)
            rivals = []
        return self._alone(best)

    def _both_ways(self, candidate: Candidate) -> list[Chosen]:
        """As it begins, and with a long history."""
        ways = candidate.way, _long(candidate, LONG_RECENCIES[1])
        return [Chosen(candidate, way, candidate.scores.scores(way)) for way in ways]

    def _in_a_long_role(self, candidate: Candidate) -> Chosen:
        """A space that is best of the newest by itself may tell the others what a user always likes."""
        way = _long(candidate, LONG_RECENCIES[0])
        return Chosen(candidate, way, candidate.scores.scores(way))

    def _alone(self, best: Chosen) -> Chosen:
        """A space in the way that is best by itself."""
        scores = best.candidate.scores
        for ways in (_other_histories, _other_methods):
            rivals = [Chosen(best.candidate, way, scores.scores(way)) for way in ways(best)]
            best = self._better(f"{best.candidate.name} alone", best, rivals, lambda own: _way_described(own.way))
        return best

    def _better(self, what: str, best: Chosen, rivals: Sequence[Chosen], describe: Callable[[Chosen], str]) -> Chosen:
        """The best of all if it is worth it, else what was best so far."""
        own = gains(best.scores, self.cases)
        index = self._decide(what, own, [gains(rival.scores, self.cases) for rival in rivals], map(describe, rivals))
        return best if index is None else rivals[index]

    def _decide(
        self, what: str, before: Gains, options: Sequence[Gains], names: Iterable[str], least: float = 0.0
    ) -> int | None:
        """Which of the options to take, None for none; the decision is recorded. ``least``: that a gain must be."""
        if not options:
            return None
        every = np.stack([before, *options])
        honest = self.judge.cross_validated(every)
        gain = self.judge.difference(honest, before)
        best = int(every.mean(axis=1).argmax()) - 1
        taken = gain.is_gain and gain.mean >= least and best >= 0
        name = list(names)[best] if best >= 0 else "as it is"
        self._record(Step(f"{what}: {name}", float(honest.mean()), gain, taken))
        return best if taken else None

    def _record(self, step: Step) -> None:
        self.steps.append(step)
        sign = "taken" if step.taken else "left"
        self.say(f"  {step.what}: NDCG@10 {step.ndcg:.4f} ({step.gain.mean:+.4f} ± {step.gain.error:.4f}), {sign}")

    # Together

    def _total(self, but: Chosen | None = None) -> Scores:
        total = np.zeros((len(self.cases), self._n_items), dtype=np.float32)
        for chosen in self.chosen:
            if chosen is not but:
                total += np.float32(chosen.weight) * chosen.scores
        return total

    @property
    def _n_items(self) -> int:
        return len(self.chosen[0].candidate.scores.space.items)

    def _begin(self, rivals: list[Chosen]) -> None:
        """With the space that is best alone."""
        alone = [gains(rival.scores, self.cases) for rival in rivals]
        best = int(np.mean(alone, axis=1).argmax())
        self.chosen.append(rivals.pop(best))
        _drop_same(rivals, self.chosen[0])
        nothing = self.judge.difference(alone[best], np.zeros(len(self.cases)))
        self._record(
            Step(f"begin with {self.chosen[0].candidate.name}", float(alone[best].mean()), nothing, taken=True)
        )

    def _add(self, rivals: list[Chosen]) -> bool:
        """Add the space that gains most, if it is worth it."""
        total = self._total()
        before = gains(total, self.cases)
        tried = [self._weighed(total, rival) for rival in rivals]
        honest = [self.judge.cross_validated(np.stack([before, *own])).mean() for _, own in tried]
        best = int(np.argmax(honest))
        rival, (weights, options) = rivals[best], tried[best]
        name = rival.candidate.name
        names = [f"{_way_described(rival.way)}, weight {weight:.3g}" for weight in weights]
        index = self._decide(f"with {name}", before, options, names, least=LEAST_GAIN * float(before.mean()))
        if index is None:
            return False
        rival.weight = weights[index]
        self.chosen.append(rivals.pop(best))
        _drop_same(rivals, rival)
        return True

    def _weighed(self, total: Scores, rival: Chosen) -> tuple[list[float], list[Gains]]:
        unit = _spread(total) / max(_spread(rival.scores), 1e-12)
        weights = [unit * ratio for ratio in RATIOS]
        return weights, [gains(total + np.float32(weight) * rival.scores, self.cases) for weight in weights]

    def _retune(self, chosen: Chosen) -> None:
        """Look for a better way to aggregate a space, now that it is one of several."""
        for ways in (_other_histories, _other_methods):
            rivals = [(chosen.candidate, way) for way in ways(chosen)]
            self._replace(chosen, rivals, lambda _, way: _way_described(way))

    def _remake(self, text: Chosen, candidates: Candidates) -> None:
        """Look for better weights of tokens and a better projection: alone, text gains of them what others know too."""
        for variants in (other_token_weights, other_projections):
            rivals = [(candidates.text(items), text.way) for items in variants(_items(text.candidate))]
            self._replace(text, rivals, lambda candidate, _: _text_described(_items(candidate)))

    def _replace(
        self, chosen: Chosen, rivals: Sequence[tuple[Candidate, Way]], describe: Callable[[Candidate, Way], str]
    ) -> None:
        """Put the best rival in its place, with a weight of its own, if that is worth it."""
        rest = self._total(but=chosen)
        before = gains(rest + np.float32(chosen.weight) * chosen.scores, self.cases)
        tried, options = [], []
        for candidate, way in rivals:
            scores = candidate.scores.scores(way)
            unit = chosen.weight * _spread(chosen.scores) / max(_spread(scores), 1e-12)
            for ratio in (0.5, 1.0, 2.0):
                tried.append((candidate, way, unit * ratio))
                options.append(gains(rest + np.float32(unit * ratio) * scores, self.cases))
        names = [f"{describe(candidate, way)}, weight {weight:.3g}" for candidate, way, weight in tried]
        index = self._decide(f"{chosen.candidate.name} among others", before, options, names)
        if index is not None:
            chosen.candidate, chosen.way, chosen.weight = tried[index]
            chosen.scores = chosen.candidate.scores.scores(chosen.way)

    def _weigh_kinds(self) -> None:
        """What events weigh by their kind, for all spaces together."""
        for kind, weights in other_kind_weights(self.cases):
            rivals = [with_kind_weight(self.cases, kind, weight) for weight in weights]
            before, *options = (gains(total, self.cases) for total in (self._total(), *map(self._total_for, rivals)))
            names = [f"weight {weight:.3g}" for weight in weights]
            name = self.cases.kind_names[kind]
            index = self._decide(f"events of the kind {name!r}", before, options, names)
            if index is not None:
                self._judge_by(rivals[index])

    def _total_for(self, cases: Cases) -> Scores:
        total = np.zeros((len(cases), self._n_items), dtype=np.float32)
        for chosen in self.chosen:
            total += np.float32(chosen.weight) * chosen.candidate.scores.of(cases).scores(chosen.way)
        return total

    def _judge_by(self, cases: Cases) -> None:
        """From here on events weigh as in these cases."""
        self.cases = cases
        for chosen in self.chosen:
            chosen.candidate = replace(chosen.candidate, scores=chosen.candidate.scores.of(cases))
            chosen.scores = chosen.candidate.scores.scores(chosen.way)

    def _reweigh(self) -> None:
        """Each weight once more, in finer steps."""
        for chosen in self.chosen[1:]:
            rest = self._total(but=chosen)
            weights = [chosen.weight * factor for factor in FINER]
            before, *options = (
                gains(rest + np.float32(weight) * chosen.scores, self.cases) for weight in (chosen.weight, *weights)
            )
            names = [f"weight {weight:.3g}" for weight in weights]
            index = self._decide(f"{chosen.candidate.name} once more", before, options, names)
            if index is not None:
                chosen.weight = weights[index]

    def _prune(self) -> None:
        """Leave out what the others do without."""
        for chosen in list(self.chosen):
            if len(self.chosen) == 1:
                return
            everything, without = gains(self._total(), self.cases), gains(self._total(but=chosen), self.cases)
            loss = self.judge.difference(everything, without)
            if not loss.is_gain:
                self.chosen.remove(chosen)
                change = Difference(-loss.mean, loss.error)
                self._record(Step(f"without {chosen.candidate.name}", float(without.mean()), change, taken=True))

    @property
    def gains(self) -> NDArray[np.float64]:
        """NDCG@10 [C] of what is chosen."""
        return gains(self._total(), self.cases)


def _drop_same(rivals: list[Chosen], chosen: Chosen) -> None:
    """A space is used in one of its variants."""
    rivals[:] = [rival for rival in rivals if rival.candidate.name != chosen.candidate.name]


def _long(candidate: Candidate, recency: float) -> Way:
    return replace(candidate.way, max_events=max(LONG_HISTORY, candidate.way.max_events), recency=recency)


def _other_histories(chosen: Chosen) -> list[Way]:
    """Other recencies of as many events as configured, and, where they cost little, of more."""
    way, begun = chosen.way, chosen.candidate.way
    recencies = RECENCIES if begun.max_events < LONG_HISTORY else (*LONG_RECENCIES, *RECENCIES[1:])
    ways = [replace(begun, method=way.method, temperature=way.temperature, recency=recency) for recency in recencies]
    if chosen.candidate.scores.is_linear and begun.max_events < LONG_HISTORY and way.method == "sum":
        ways += [replace(ways[0], recency=recency, max_events=LONG_HISTORY) for recency in LONG_RECENCIES]
    return [other for other in ways if other != way]


def _other_methods(chosen: Chosen) -> list[Way]:
    """Other methods and temperatures; of more events than configured, whose soft maxima would cost, none."""
    way = chosen.way
    if way.max_events > chosen.candidate.way.max_events:
        return []
    ways = [replace(way, method="softmax", temperature=temperature) for temperature in TEMPERATURES]
    ways.append(replace(way, method="sum"))
    return [other for other in ways if other != way]


def _spread(scores: Scores) -> float:
    """How much scores of one case vary between items, on average."""
    return float(scores.std(axis=1).mean())


def _settings(chosen: Chosen) -> LearnedConfig:
    settings = chosen.candidate.settings
    assert isinstance(settings, LearnedConfig)
    return settings


def _items(text: Candidate) -> ItemsConfig:
    assert isinstance(text.settings, ItemsConfig)
    return text.settings


def _text_described(items: ItemsConfig) -> str:
    return f"token weights {items.token_weights}, projection {items.projection}"


def _described(chosen: Chosen) -> str:
    settings = _settings(chosen)
    penalty = f", penalty {settings.penalty:g}" if chosen.candidate.name in REGRESSIONS else ""
    return f"{settings.dim} dimensions{penalty}, {_way_described(chosen.way)}"


def _way_described(way: Way) -> str:
    method = way.method if way.method == "sum" else f"{way.method} at {way.temperature:g}"
    return f"{method}, recency {way.recency:g} over {way.max_events}"
