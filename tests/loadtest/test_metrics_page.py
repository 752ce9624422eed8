"""docs/metrics.md tabulates every figure of the code, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from tesserank_loadtest.metrics import METRICS

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_table_of_figures_is_the_codes() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("\n## Figures\n")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\| `.*$", section, re.M)]
    named = [(name.strip("`"), unit, slo.strip("`") or None) for name, unit, slo, _, _ in rows]
    assert named == [(metric.name, metric.unit, metric.slo) for metric in METRICS]
    assert all(formula for _, _, _, formula, _ in rows)
