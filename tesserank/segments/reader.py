"""Reads a segments file: TOML into ``tesserank.segments.config``.

Every table and key is optional, and an unknown one is an error, so that a misspelling cannot pass for a default.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from tesserank.errors import ConfigError
from tesserank.limits import Limits
from tesserank.segments import checks
from tesserank.segments.config import (
    LEARNED_SPACES,
    AggregationConfig,
    HistoryConfig,
    HistorySpace,
    ItemsConfig,
    LearnedConfig,
    SearchConfig,
    SegmentsConfig,
    TextConfig,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_T = TypeVar("_T")


def load_segments(path: Path) -> SegmentsConfig:
    """Read a segments file. Raises ConfigError that names the file and the key."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"segments file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"segments file {path} is not UTF-8: byte {error.start}") from error
    try:
        return parse_segments(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def parse_segments(text: str) -> SegmentsConfig:
    """Parse the text of a segments file. Raises ConfigError that names the key."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not TOML: {error}") from error
    _known_keys("the file", table, {f.name for f in fields(SegmentsConfig)})
    sections: dict[str, Any] = {}
    if "name" in table:
        sections["name"] = _typed("name", table["name"], str)
    for key, kind in _SECTIONS.items():
        if key in table:
            sections[key] = _section(key, table[key], kind)
    if "learned" in table:
        learned = _typed("learned", table["learned"], dict)
        for space in learned:
            checks.known_space(f"learned.{space}", space, LEARNED_SPACES)
        sections["learned"] = MappingProxyType(
            {space: _section(f"learned.{space}", learned[space], LearnedConfig) for space in learned}
        )
    if "texts" in table:
        texts = _typed("texts", table["texts"], dict)
        sections["texts"] = MappingProxyType(
            {name: _section(f"texts.{name}", texts[name], TextConfig) for name in texts}
        )
        for name in texts:
            if name == "history" or "/" in name or not name:
                raise ConfigError(f'texts.{name}: a text segment cannot be called "{name}"')
        if not texts:
            raise ConfigError("texts is empty: name at least one, or leave the table out for query and profile")
    return SegmentsConfig(**sections)


_SECTIONS: Mapping[str, type[Any]] = {
    "items": ItemsConfig,
    "history": HistoryConfig,
    "aggregation": AggregationConfig,
    "search": SearchConfig,
    "limits": Limits,
}


def _section(name: str, value: Any, kind: type[_T]) -> _T:
    table = _typed(name, value, dict)
    defaults = kind()
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    _known_keys(f"[{name}]", table, known)
    values = {key: _typed(f"{name}.{key}", entry, type(getattr(defaults, key))) for key, entry in table.items()}
    if kind is HistoryConfig and "spaces" in values:
        values["spaces"] = {space: _history_space(space, entry) for space, entry in values["spaces"].items()}
    section = kind(**values)
    try:
        if isinstance(section, Limits):
            checks.at_least(1, **values)
        else:
            section.check()  # type: ignore[attr-defined]
    except ConfigError as error:
        raise ConfigError(f"{name}.{error}") from error
    return section


def _history_space(space: str, entry: Any) -> HistorySpace:
    """A number is a weight; a table says more."""
    name = f"history.spaces.{space}"
    if not isinstance(entry, dict):
        checks.weights(**{name: entry})
        return HistorySpace(float(entry))
    _known_keys(f"[{name}]", entry, set(_HISTORY_SPACE_TYPES))
    own = HistorySpace(
        **{key: _typed(f"{name}.{key}", value, _HISTORY_SPACE_TYPES[key]) for key, value in entry.items()}
    )
    try:
        own.check()
    except ConfigError as error:
        raise ConfigError(f"{name}.{error}") from error
    return own


_HISTORY_SPACE_TYPES: Mapping[str, type[Any]] = {
    "weight": float,
    "method": str,
    "temperature": float,
    "recency": float,
    "max_events": int,
}


def _typed(name: str, value: Any, kind: type[_T]) -> _T:
    """TOML tells ints from floats and from booleans; people write 1 for 1.0, which is fine, and "1", which is not."""
    if kind is float and type(value) is int:
        return kind(value)  # type: ignore[call-arg]
    if type(value) is not kind:
        raise ConfigError(f"{name} must be a {kind.__name__}, not {value!r}")
    return value


def _known_keys(where: str, table: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise ConfigError(f"unknown key {unknown[0]!r} in {where}: known are {', '.join(sorted(known))}")
