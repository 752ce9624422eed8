"""The plan of a run: every choice that decides what is sent, when and where, as the file that Locust reads."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tesserank_loadtest.arrivals import Arrivals
from tesserank_loadtest.scenario import Queries, Scenario, Sessions

Protocol = Literal["grpc", "http"]
PROTOCOLS: tuple[Protocol, ...] = ("grpc", "http")
PROTOCOL_NAMES: Mapping[Protocol, str] = {"grpc": "gRPC", "http": "HTTP"}

Model = Literal["recommend", "cross_encoder"]
MODELS: tuple[Model, ...] = ("recommend", "cross_encoder")

PLAN_VARIABLE = "TESSERANK_LOADTEST_PLAN"  # the environment variable that names the plan's file

WINDOWS = 3  # that stability is judged by
INTERVALS_OF_WINDOW = 100  # at most, and of a second at least


@dataclass(frozen=True)
class WorkloadOptions:
    """What is requested. Equal options give equal requests.

    ``items``: see ``read_item_ids``. ``events``: a log to replay; None makes events up. ``queries``: a file of texts,
    one a line, most frequent first; None makes them up. ``zero_hit``: no request has a segment that was sent before.
    """

    items: Path
    scenario: Scenario = field(default_factory=Scenario)
    events: Path | None = None
    queries: Path | None = None
    zero_hit: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Plan:
    """A run: the endpoint (``host:port``) of each protocol in it, what is sent there, and when.

    Either ``users`` send their next request when they have the answer to the last (closed loop), or requests are sent
    at the times of ``arrivals`` (open loop). What was to be sent in the first ``warmup_s`` of ``duration_s`` is not
    counted. ``timeout_s`` is the deadline of a request; ``max_in_flight`` bounds the requests of an open loop that wait
    for their answers; ``processes`` share the load.
    """

    urls: Mapping[Protocol, str]
    workload: WorkloadOptions
    model: Model = "recommend"
    users: int | None = None
    arrivals: Arrivals | None = None
    duration_s: int = 20
    warmup_s: float = 0.0
    timeout_s: float = 5.0
    max_in_flight: int = 1000
    processes: int = 1

    @property
    def interval_s(self) -> float:
        """Seconds of an interval: about one, and a whole number of them in each third of what is counted."""
        window_s = (self.duration_s - self.warmup_s) / WINDOWS
        return window_s / min(INTERVALS_OF_WINDOW, max(1, round(window_s)))

    @property
    def in_flight(self) -> int:
        """Requests of an open loop that may wait for their answers at a time, in each process."""
        return math.ceil(self.max_in_flight / self.processes)

    def endpoint(self, protocol: Protocol) -> str:
        """What the reports call the model over a protocol."""
        return f"{PROTOCOL_NAMES[protocol]} {self.model}"

    def save(self, path: Path) -> None:
        """Write the plan as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2, default=str) + "\n", encoding="utf-8")


def load_plan(path: Path) -> Plan:
    """The plan that ``Plan.save`` wrote."""
    fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    workload = fields["workload"]
    for name in ("items", "events", "queries"):
        workload[name] = Path(workload[name]) if workload[name] is not None else None
    scenario = workload["scenario"]
    queries = scenario["queries"] | {"words": tuple(scenario["queries"]["words"])}
    restored = Scenario(**scenario | {"sessions": Sessions(**scenario["sessions"]), "queries": Queries(**queries)})
    arrivals = Arrivals(**fields["arrivals"]) if fields["arrivals"] else None
    return Plan(**fields | {"workload": WorkloadOptions(**workload | {"scenario": restored}), "arrivals": arrivals})
