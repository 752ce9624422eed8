"""Scenarios: who asks for what, as TOML. ``loadtest/scenarios`` has one for e-commerce, social and video."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tesserank.errors import ConfigError
from tesserank.paths import CHECKOUT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SCENARIOS = CHECKOUT / "loadtest" / "scenarios"
CATALOGUE = "catalogue"


@dataclass(frozen=True)
class Sessions:
    """Synthetic behaviour: sessions that come at random, each of one user.

    Args:
        users: How many there are; the r-th most active begins sessions ∝ r^-``user_zipf``.
        per_hour: Sessions, as a Poisson process.
        events: Mean of a session, geometric.
        gap_s: Median seconds between two events of a session, lognormal with ``gap_sigma``.
        item_zipf: The r-th most popular item is drawn ∝ r^-``item_zipf``.
        past_events: Events before the first request.
        kinds: Shares of the kinds of events; empty sends none.
    """

    users: int = 10_000
    per_hour: float = 2_000.0
    events: float = 6.0
    gap_s: float = 60.0
    gap_sigma: float = 1.0
    user_zipf: float = 0.8
    item_zipf: float = 1.0
    past_events: int = 20_000
    kinds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Queries:
    """Text segments. ``share`` of requests carry one of ``distinct`` texts, the r-th most frequent ∝ r^-``zipf``.

    ``words``: fewest and most words of a made-up text; a file of texts is taken as it is, most frequent first.
    """

    share: float = 0.0
    distinct: int = 10_000
    zipf: float = 0.9
    words: tuple[int, int] = (1, 4)


@dataclass(frozen=True)
class Scenario:
    """What a scenario file says.

    Args:
        candidates: Items that a request ranks; ``catalogue`` in the file, None here, is all of them.
        top_k: Items wanted; None leaves it to the server.
        max_history: The most events of a history that are sent.
        past_share: Of an event log: the share that is past when the run begins.
    """

    description: str = ""
    candidates: int | None = 100
    top_k: int | None = None
    max_history: int = 20
    past_share: float = 0.5
    sessions: Sessions = field(default_factory=Sessions)
    queries: Queries = field(default_factory=Queries)


def load_scenario(name: str) -> Scenario:
    """The scenario of a file, or of a file in ``loadtest/scenarios`` by its name alone.

    Raises:
        ConfigError: There is none, it is no TOML, or a key or value in it is not a scenario's.
    """
    path = Path(name) if name.endswith(".toml") else SCENARIOS / f"{name}.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        known = ", ".join(sorted(found.stem for found in SCENARIOS.glob("*.toml")))
        raise ConfigError(f"cannot read scenario {path} ({error}): name a file, or one of {known}") from error
    return parse_scenario(table, str(path))


def parse_scenario(table: Mapping[str, Any], where: str) -> Scenario:
    """A scenario from its TOML table. Raises ConfigError naming the key in ``where``."""
    own = dict(table)
    sessions = _section(Sessions, own.pop("sessions", {}), f"{where}, [sessions]")
    queries = _section(Queries, own.pop("queries", {}), f"{where}, [queries]")
    if own.get("candidates") == CATALOGUE:
        own["candidates"] = None
    elif "candidates" in own:
        _check(
            isinstance(own["candidates"], int), where, f"candidates = {own['candidates']!r}", "a number or catalogue"
        )
    scenario: Scenario = _section(Scenario, own, where, sessions=sessions, queries=queries)
    _check_scenario(scenario, where)
    return scenario


def _section(kind: type[Any], table: Any, where: str, **ready: Any) -> Any:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where} is {table!r}, not a table")
    known = {entry.name: entry for entry in fields(kind) if entry.name not in ready}
    if unknown := sorted(set(table) - set(known)):
        raise ConfigError(f"{where}: no key {unknown[0]!r} in a scenario, only {', '.join(known)}")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in table.items()}
    template = kind()
    for name, value in values.items():
        _check(_fits(value, getattr(template, name)), where, f"{name} = {value!r}", f"like {getattr(template, name)!r}")
    return kind(**values, **ready)


def _fits(value: Any, default: Any) -> bool:
    """Whether a value is of the kind of the default: a number, a text, a table or a pair of whole numbers."""
    if isinstance(value, bool):
        return False
    if isinstance(default, float):
        return isinstance(value, (int, float))
    if isinstance(default, tuple):
        return isinstance(value, tuple) and len(value) == 2 and all(isinstance(part, int) for part in value)
    if default is None:
        return isinstance(value, int)
    return value is None or isinstance(value, Mapping if isinstance(default, dict) else type(default))


def _check_scenario(scenario: Scenario, where: str) -> None:
    sessions, queries = scenario.sessions, scenario.queries
    positive = {
        "candidates": scenario.candidates,
        "top_k": scenario.top_k,
        "max_history": scenario.max_history,
        "users": sessions.users,
        "per_hour": sessions.per_hour,
        "gap_s": sessions.gap_s,
        "distinct": queries.distinct,
    }
    for name, value in positive.items():
        _check(value is None or value > 0, where, f"{name} = {value}", "above 0")
    _check(sessions.events >= 1, where, f"events = {sessions.events}", "at least 1")
    for name, value in (("past_share", scenario.past_share), ("share", queries.share)):
        _check(0 <= value <= 1, where, f"{name} = {value}", "from 0 to 1")
    for name, value in (
        ("gap_sigma", sessions.gap_sigma),
        ("user_zipf", sessions.user_zipf),
        ("item_zipf", sessions.item_zipf),
        ("past_events", sessions.past_events),
        ("zipf", queries.zipf),
    ):
        _check(value >= 0, where, f"{name} = {value}", "at least 0")
    _check(1 <= queries.words[0] <= queries.words[1], where, f"words = {list(queries.words)}", "[fewest, most]")
    for name, share in sessions.kinds.items():
        sound = isinstance(share, (int, float)) and share > 0
        _check(sound, where, f"kinds.{name} = {share!r}", "a share above 0")


def _check(sound: bool, where: str, what: str, wanted: str) -> None:
    if not sound:
        raise ConfigError(f"{where}: {what} is not {wanted}")
