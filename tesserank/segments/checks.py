"""What values a segments file may have. Each check raises ConfigError that names the key and the value."""

from __future__ import annotations

import math
from typing import Any

from tesserank.errors import ConfigError

# A soft maximum this sharp is the maximum already; further down, float32 overflows and in the end divides by 0.
_MIN_TEMPERATURE = 1e-4


def at_least(minimum: int, **values: int) -> None:
    for name, value in values.items():
        if value < minimum:
            raise ConfigError(f"{name} must be at least {minimum}, not {value}")


def one_of(allowed: tuple[str, ...], **values: str) -> None:
    for name, value in values.items():
        if value not in allowed:
            raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")


def known_space(key: str, space: str, known: tuple[str, ...]) -> None:
    if space not in known:
        raise ConfigError(f"{key}: there are the spaces {', '.join(known)}")


def recency(value: float) -> None:
    if not 0.0 < value <= 1.0:
        raise ConfigError(f"recency must lie in (0, 1], not {value}")


def temperature(value: float) -> None:
    if not (math.isfinite(value) and value >= _MIN_TEMPERATURE):
        raise ConfigError(f"temperature must be finite and at least {_MIN_TEMPERATURE}, not {value}")


def weights(**weights: Any) -> None:
    for name, weight in weights.items():
        if type(weight) not in (int, float) or not math.isfinite(weight) or weight < 0:
            raise ConfigError(f"{name} must be a finite number of at least 0, not {weight!r}")
