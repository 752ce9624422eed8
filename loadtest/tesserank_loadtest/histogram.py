"""Latencies, in a histogram of high dynamic range: HdrHistogram, by the package hdrhistogram.

Microseconds to an hour; a value is kept to within its digits (3: 0.1%, 2: 1%) however large it is, and histograms of
different processes are merged without loss. (Locust's own rounds to whole milliseconds, and to two digits.)
"""

from __future__ import annotations

import math

from hdrh.histogram import HdrHistogram

LONGEST_US = 3_600_000_000  # one hour: more than any deadline
DIGITS = 3


class Histogram:
    """Durations in seconds; what is read is in milliseconds, and None while nothing is recorded."""

    def __init__(self, digits: int = DIGITS) -> None:
        self._hdr = HdrHistogram(1, LONGEST_US, digits)

    def record(self, seconds: float) -> None:
        """Count one duration. Raises ValueError for one that is much beyond an hour."""
        # A duration below a microsecond counts as one: the histogram has no zero to take a logarithm of.
        if not self._hdr.record_value(max(1, round(seconds * 1e6))):
            raise ValueError(f"a duration of {seconds:g} s: at most {LONGEST_US / 1e6:g} s can be recorded")

    @property
    def count(self) -> int:
        """Durations recorded."""
        return int(self._hdr.get_total_count())

    @property
    def mean_ms(self) -> float | None:
        """The arithmetic mean, to the histogram's precision."""
        return self._hdr.get_mean_value() / 1e3 if self.count else None

    @property
    def max_ms(self) -> float | None:
        """The longest."""
        return self._hdr.get_max_value() / 1e3 if self.count else None

    def percentile_ms(self, percent: float) -> float | None:
        """The smallest recorded value that ``percent`` % of all do not exceed."""
        if not self.count:
            return None
        # HdrHistogram rounds the rank to the nearest, so that one in a few could be below it: it is asked for the rank.
        rank = math.ceil(round(percent / 100 * self.count, 6))
        return float(self._hdr.get_value_at_percentile(100.0 * rank / self.count)) / 1e3

    def count_within(self, milliseconds: float) -> int:
        """How many took at most ``milliseconds``."""
        index = self._hdr.get_counts_array_index(min(LONGEST_US, max(1, round(milliseconds * 1e3))))
        return sum(self._hdr.get_count_at_index(at) for at in range(index + 1))

    def merge(self, other: Histogram) -> None:
        """Add all that ``other`` holds."""
        self._hdr.add(other._hdr)

    def encode(self) -> str:
        """In HdrHistogram's own compressed format (V2), base64: other tools read it."""
        return str(self._hdr.encode().decode("ascii"))

    @classmethod
    def decode(cls, text: str) -> Histogram:
        """What ``encode`` wrote."""
        histogram = cls.__new__(cls)
        histogram._hdr = HdrHistogram.decode(text.encode("ascii"))
        return histogram
