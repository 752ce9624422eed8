"""The load test's own failures, as opposed to those of the server under test, which are results."""

from __future__ import annotations

from tesserank.errors import TesserankError


class LoadTestError(TesserankError):
    """The load generator failed, so whatever it measured says nothing about the server."""
