"""The plan of a run: every choice that decides what is sent and where, as the file that Locust's process reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Protocol = Literal["grpc", "http"]
PROTOCOLS: tuple[Protocol, ...] = ("grpc", "http")

PLAN_VARIABLE = "TESSERANK_LOADTEST_PLAN"  # the environment variable that names the plan's file


@dataclass(frozen=True)
class WorkloadOptions:
    """What is requested. Equal options give equal requests.

    ``items``: see ``read_item_ids``. ``events``: an event log to take histories from; None draws them. ``queries``: a
    file of texts, one a line, of which every request carries one; None sends no text. ``candidates``: how many items a
    request ranks; None is the whole catalogue. ``top_k``: None leaves it to the server. ``max_history``: the most
    events of a history.
    """

    items: Path
    events: Path | None = None
    queries: Path | None = None
    candidates: int | None = 100
    top_k: int | None = None
    max_history: int = 20
    seed: int = 0


@dataclass(frozen=True)
class Plan:
    """A run: the endpoint (``host:port``) of each protocol in it, and what its users send.

    ``users`` are shared out evenly between the protocols; a run with ``cross_encoder`` has one user of the
    cross-encoder a protocol besides. Timeouts are the deadlines of one request in seconds.
    """

    urls: Mapping[Protocol, str]
    users: int
    workload: WorkloadOptions
    timeout_s: float
    cross_encoder: bool
    cross_encoder_timeout_s: float

    @property
    def all_users(self) -> int:
        """Users of both models."""
        return self.users + len(self.urls) * self.cross_encoder

    @property
    def longest_request_s(self) -> float:
        """The deadline of the slowest kind of request in the run."""
        return max(self.timeout_s, self.cross_encoder_timeout_s) if self.cross_encoder else self.timeout_s

    def save(self, path: Path) -> None:
        """Write the plan as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2, default=str) + "\n", encoding="utf-8")


def load_plan(path: Path) -> Plan:
    """The plan that ``Plan.save`` wrote."""
    fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    workload = fields["workload"]
    for name in ("items", "events", "queries"):
        workload[name] = Path(workload[name]) if workload[name] is not None else None
    return Plan(**fields | {"workload": WorkloadOptions(**workload)})
