"""The files of one run. The only place that spells their names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Reports:
    """What a run leaves in its folder ``root``."""

    root: Path

    @property
    def plan(self) -> Path:
        return self.root / "plan.json"

    @property
    def recorder(self) -> Path:
        """What Locust's processes counted."""
        return self.root / "counted.json"

    @property
    def server(self) -> Path:
        """What the server's metrics and processes said, a line a second."""
        return self.root / "server.jsonl"

    @property
    def result(self) -> Path:
        return self.root / "result.json"

    @property
    def figures(self) -> Path:
        return self.root / "figures.csv"

    @property
    def intervals(self) -> Path:
        return self.root / "intervals.csv"

    @property
    def html(self) -> Path:
        return self.root / "report.html"

    @property
    def locust_log(self) -> Path:
        return self.root / "locust.log"

    @property
    def server_log(self) -> Path:
        return self.root / "tritonserver.log"
