"""The files of one run. The only place that spells their names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LOCUST = "locust"


@dataclass(frozen=True)
class Reports:
    """What a run leaves in its folder ``root``; Locust puts its CSV files at ``csv_prefix``."""

    root: Path

    @property
    def plan(self) -> Path:
        return self.root / "plan.json"

    @property
    def html(self) -> Path:
        return self.root / "report.html"

    @property
    def csv_prefix(self) -> Path:
        return self.root / LOCUST

    @property
    def requests(self) -> Path:
        return self.root / f"{LOCUST}_stats.csv"

    @property
    def failures(self) -> Path:
        return self.root / f"{LOCUST}_failures.csv"

    @property
    def exceptions(self) -> Path:
        return self.root / f"{LOCUST}_exceptions.csv"

    @property
    def locust_log(self) -> Path:
        return self.root / f"{LOCUST}.log"

    @property
    def server_log(self) -> Path:
        return self.root / "tritonserver.log"
