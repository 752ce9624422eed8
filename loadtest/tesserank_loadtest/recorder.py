"""What a run counted: by endpoint, by interval of time, and of the generator itself. Recorders of processes merge."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tesserank_loadtest.histogram import Histogram

INTERVAL_DIGITS = 2  # a hundredth is enough for charts and windows, and a seventh of the memory

Warmth = Literal["cold", "warm", "hot"]
WARMTHS: tuple[Warmth, ...] = ("cold", "warm", "hot")


@dataclass(frozen=True)
class Sample:
    """One request: seconds from the start of the run, its error's class and text, the segments that were cached.

    ``intended`` is when it was to be sent; in a closed loop it is when it was sent.
    """

    endpoint: str
    intended: float
    sent: float
    done: float
    error: str | None = None
    message: str = ""
    cache_hits: int = 0
    cache_misses: int = 0

    @property
    def warmth(self) -> Warmth:
        """Hot: nothing had to be encoded; cold: nothing was cached."""
        if not self.cache_misses:
            return "hot"
        return "warm" if self.cache_hits else "cold"


@dataclass
class Endpoint:
    """One model over one protocol. ``latency`` counts from the intended send time, ``service`` from the actual one."""

    latency: Histogram = field(default_factory=Histogram)
    service: Histogram = field(default_factory=Histogram)
    errors: Counter[str] = field(default_factory=Counter)
    messages: dict[str, str] = field(default_factory=dict)  # the first of each class of error
    warmth: Counter[str] = field(default_factory=Counter)
    cache_hits: int = 0
    cache_misses: int = 0

    def add(self, sample: Sample) -> None:
        """Count a request. Failed ones have no latency: a quick refusal must not make a server look quick."""
        if sample.error is not None:
            self.errors[sample.error] += 1
            self.messages.setdefault(sample.error, sample.message)
            return
        self.latency.record(sample.done - sample.intended)
        self.service.record(sample.done - sample.sent)
        self.warmth[sample.warmth] += 1
        self.cache_hits += sample.cache_hits
        self.cache_misses += sample.cache_misses

    def merge(self, other: Endpoint) -> None:
        """Add all of ``other``."""
        self.latency.merge(other.latency)
        self.service.merge(other.service)
        self.errors.update(other.errors)
        self.messages = other.messages | self.messages
        self.warmth.update(other.warmth)
        self.cache_hits += other.cache_hits
        self.cache_misses += other.cache_misses


@dataclass
class Interval:
    """What was to be sent within a stretch of time."""

    answered: int = 0
    failed: int = 0
    dropped: int = 0
    latency: Histogram = field(default_factory=lambda: Histogram(INTERVAL_DIGITS))

    def merge(self, other: Interval) -> None:
        """Add all of ``other``."""
        self.answered += other.answered
        self.failed += other.failed
        self.dropped += other.dropped
        self.latency.merge(other.latency)


class Recorder:
    """Counts what was to be sent from ``warmup_s`` on, in intervals of ``interval_s``.

    Attributes:
        endpoints: By name, as ``gRPC recommend``.
        intervals: By number, from ``warmup_s`` on.
        lag: From the intended to the actual send time.
        dropped: Arrivals that were not sent, because too many requests were on their way.
        warmup: Requests that were sent, and not counted, before ``warmup_s``.
        last_done: When the last answer came, in seconds from the start of the run.
        started_at: The start of the run, in Unix seconds.
        cpu: By process of the generator, CPU seconds a second.
    """

    def __init__(self, interval_s: float = 1.0, warmup_s: float = 0.0) -> None:
        self.interval_s = interval_s
        self.warmup_s = warmup_s
        # Made when they are needed and not in every request: a histogram takes as long to make as a request to count.
        self.endpoints: defaultdict[str, Endpoint] = defaultdict(Endpoint)
        self.intervals: defaultdict[int, Interval] = defaultdict(Interval)
        self.lag = Histogram()
        self.dropped = 0
        self.warmup = 0
        self.last_done = 0.0
        self.started_at = 0.0
        self.cpu: dict[str, float] = {}

    def add(self, sample: Sample) -> None:
        """Count one request that was sent."""
        if sample.intended < self.warmup_s:
            self.warmup += 1
            return
        self.endpoints[sample.endpoint].add(sample)
        self.lag.record(sample.sent - sample.intended)
        self.last_done = max(self.last_done, sample.done)
        interval = self._interval(sample.intended)
        if sample.error is None:
            interval.answered += 1
            interval.latency.record(sample.done - sample.intended)
        else:
            interval.failed += 1

    def drop(self, intended: float) -> None:
        """Count an arrival that was not sent."""
        if intended >= self.warmup_s:
            self.dropped += 1
            self._interval(intended).dropped += 1

    def merge(self, other: Recorder) -> None:
        """Add all of ``other``, which counted in the same intervals."""
        for name, endpoint in other.endpoints.items():
            self.endpoints[name].merge(endpoint)
        for number, interval in other.intervals.items():
            self.intervals[number].merge(interval)
        self.lag.merge(other.lag)
        self.dropped += other.dropped
        self.warmup += other.warmup
        self.last_done = max(self.last_done, other.last_done)
        self.started_at = max(self.started_at, other.started_at)
        self.cpu |= other.cpu

    def _interval(self, at: float) -> Interval:
        return self.intervals[int((at - self.warmup_s) // self.interval_s)]

    def to_dict(self) -> dict[str, Any]:
        """As JSON and Locust's messages carry it; ``from_dict`` reads it."""
        return {
            "interval_s": self.interval_s,
            "warmup_s": self.warmup_s,
            "endpoints": {name: _endpoint_to_dict(endpoint) for name, endpoint in sorted(self.endpoints.items())},
            "intervals": {str(number): _interval_to_dict(value) for number, value in sorted(self.intervals.items())},
            "lag": self.lag.encode(),
            "dropped": self.dropped,
            "warmup": self.warmup,
            "last_done": self.last_done,
            "started_at": self.started_at,
            "cpu": self.cpu,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Recorder:
        """The recorder that ``to_dict`` wrote."""
        recorder = cls(fields["interval_s"], fields["warmup_s"])
        recorder.endpoints.update({name: _endpoint_from_dict(value) for name, value in fields["endpoints"].items()})
        recorder.intervals.update({int(at): _interval_from_dict(value) for at, value in fields["intervals"].items()})
        recorder.lag = Histogram.decode(fields["lag"])
        recorder.dropped, recorder.warmup = fields["dropped"], fields["warmup"]
        recorder.last_done, recorder.started_at = fields["last_done"], fields["started_at"]
        recorder.cpu = dict(fields["cpu"])
        return recorder


def _endpoint_to_dict(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "latency": endpoint.latency.encode(),
        "service": endpoint.service.encode(),
        "errors": dict(endpoint.errors),
        "messages": endpoint.messages,
        "warmth": dict(endpoint.warmth),
        "cache_hits": endpoint.cache_hits,
        "cache_misses": endpoint.cache_misses,
    }


def _endpoint_from_dict(fields: Mapping[str, Any]) -> Endpoint:
    return Endpoint(
        latency=Histogram.decode(fields["latency"]),
        service=Histogram.decode(fields["service"]),
        errors=Counter(fields["errors"]),
        messages=dict(fields["messages"]),
        warmth=Counter(fields["warmth"]),
        cache_hits=fields["cache_hits"],
        cache_misses=fields["cache_misses"],
    )


def _interval_to_dict(interval: Interval) -> dict[str, Any]:
    counts = {"answered": interval.answered, "failed": interval.failed, "dropped": interval.dropped}
    return counts | {"latency": interval.latency.encode()}


def _interval_from_dict(fields: Mapping[str, Any]) -> Interval:
    return Interval(fields["answered"], fields["failed"], fields["dropped"], Histogram.decode(fields["latency"]))
