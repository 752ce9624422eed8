"""The errors of the benchmarks."""

from __future__ import annotations

from tesserank.errors import TesserankError


class BenchmarkError(TesserankError):
    """A measurement that would be of something else than it claims, or of nothing."""
