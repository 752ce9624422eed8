"""The metrics page of a server, in Prometheus' text format, as numbers."""

from __future__ import annotations

import re

Labels = frozenset[tuple[str, str]]

_SAMPLE = re.compile(r"^(?P<name>\w+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def parse_metrics(page: str) -> dict[tuple[str, Labels], float]:
    """The samples of a Prometheus page, by name and labels."""
    samples = _SAMPLE.finditer(page)
    return {
        (sample["name"], frozenset(_LABEL.findall(sample["labels"] or ""))): float(sample["value"])
        for sample in samples
    }
