"""What a fit chose: as a segments file, and as a table of what each step bought."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import tomli_w

from tesserank.segments.config import TEXT_SPACE, ItemsConfig, LearnedConfig, SegmentsConfig
from tesserank_export.fit.search import Chosen, Step

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_DIGITS = 4  # of a weight


def fitted_segments(text: str, config: SegmentsConfig, chosen: Sequence[Chosen], kinds: Mapping[str, float]) -> str:
    """The segments file ``text``, which says ``config``, with the spaces that were chosen; its comments are lost.

    ``kinds``: what events weigh by their kind. Only ratios of weights matter to a history by itself. So that texts
    beside it keep their say, the text space keeps its weight, or, where it is not used, the heaviest space weighs 1.
    """
    table = tomllib.loads(text)
    unit = _unit(config, chosen)
    spaces = {own.candidate.name: _space(own, own.weight * unit, config) for own in _in_order(chosen)}
    table["history"] = {**table.get("history", {}), "spaces": spaces}
    if changed := {kind: weight for kind, weight in kinds.items() if weight != config.history.kinds.get(kind, 1.0)}:
        table["history"]["kinds"] = {**config.history.kinds, **changed}
    learned: dict[str, dict[str, Any]] = {}
    for own in chosen:
        settings = own.candidate.settings
        if isinstance(settings, ItemsConfig):
            if others := _differing(settings, config.items):
                table["items"] = {**table.get("items", {}), **others}
        else:
            learned[own.candidate.name] = _differing(settings, LearnedConfig())
    table["learned"] = {name: settings for name, settings in learned.items() if settings}
    return tomli_w.dumps(table)


def _unit(config: SegmentsConfig, chosen: Sequence[Chosen]) -> float:
    weights = {own.candidate.name: own.weight for own in chosen}
    configured = config.history.spaces.get(TEXT_SPACE)
    if TEXT_SPACE in weights and configured is not None and configured.weight > 0:
        return configured.weight / weights[TEXT_SPACE]
    return 1.0 / max(weights.values())


def _in_order(chosen: Sequence[Chosen]) -> list[Chosen]:
    """Text first, as in files that people write."""
    return sorted(chosen, key=lambda own: own.candidate.name != TEXT_SPACE)


def _space(chosen: Chosen, weight: float, config: SegmentsConfig) -> dict[str, Any]:
    way = chosen.way
    own: dict[str, Any] = {"weight": float(f"{weight:.{_DIGITS}g}"), "method": way.method, "recency": way.recency}
    if way.max_events != config.history.max_events:
        own["max_events"] = way.max_events
    return own if way.method == "sum" else {**own, "temperature": way.temperature}


def _differing(settings: LearnedConfig | ItemsConfig, usual: LearnedConfig | ItemsConfig) -> dict[str, Any]:
    return {key: value for key, value in vars(settings).items() if value != vars(usual)[key]}


def steps_as_dicts(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """For JSON."""
    return [
        {
            "step": step.what,
            "ndcg_at_10": round(step.ndcg, 6),
            "gain": round(step.gain.mean, 6),
            "standard_error": round(step.gain.error, 6),
            "taken": step.taken,
        }
        for step in steps
    ]


def markdown(record: Mapping[str, Any]) -> str:
    """The table of a fit's record."""
    head = f"{record['cases']:,} next items of {record['users']:,} users, {record['protocol']} protocol"
    lines = [head, "", "| step | NDCG@10 | gain | |", "|---|---|---|---|"]
    for step in record["steps"]:
        gain = f"{step['gain']:+.4f} ± {step['standard_error']:.4f}"
        lines.append(f"| {step['step']} | {step['ndcg_at_10']:.4f} | {gain} | {'taken' if step['taken'] else ''} |")
    if not record["fitted"]:
        lines += ["", "Left as configured: too few users, or nothing that is better beyond doubt."]
    return "\n".join(lines) + "\n"
