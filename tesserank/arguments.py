"""What the arguments of commands have in common."""

from __future__ import annotations

from collections.abc import Mapping

from tesserank.errors import ConfigError


def check_least(values: object, least: Mapping[str, int]) -> None:
    """Raise ConfigError, naming the flag, for an attribute of ``values`` that is there and below its least."""
    for name, lowest in least.items():
        value = getattr(values, name)
        if value is not None and value < lowest:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least {lowest}, not {value}")
