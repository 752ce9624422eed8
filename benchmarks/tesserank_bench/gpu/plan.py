"""What is measured: shapes, with their targets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """``items`` of ``tokens`` vectors each, and ``users`` of ``segments`` of ``length`` query tokens; d = 128.

    ``gathered``: the items are candidates, picked at random from four times as many; else the whole index. ``storage``
    is the items', and ``wide`` the queries'. Targets: milliseconds ``at_most_ms`` a user, ``over_loop`` times faster
    than a launch a segment, ``over_peers`` times as fast as the better of the other libraries.
    """

    name: str
    items: int
    tokens: int
    segments: int
    length: int
    storage: str = "float16"
    wide: bool = True
    users: int = 1
    gathered: bool = False
    dim: int = 128
    top: int = 100
    at_most_ms: float | None = None
    over_loop: float | None = None
    over_peers: float | None = None

    @property
    def operations(self) -> int:
        """Of all products: a multiplication and an addition are two."""
        return 2 * self.users * self.segments * self.length * self.items * self.tokens * self.dim

    @property
    def bytes(self) -> int:
        """Of items, each read once."""
        return self.items * self.tokens * self.dim * (1 if self.storage in ("int8", "fp8") else 2)

    @property
    def multiplied(self) -> str:
        """The type that tensor cores multiply."""
        return "float16" if self.wide and self.storage != "bfloat16" else self.storage


CANDIDATES, DOCUMENTS = "candidates", "documents"
FULL = (
    Shape(CANDIDATES, 1_000, 32, 8, 64, gathered=True, over_loop=4.0, over_peers=2.5),
    Shape(DOCUMENTS, 10_000, 300, 1, 32, over_peers=0.95),
    Shape("1M float16", 1_000_000, 32, 8, 64, at_most_ms=8.0),
    Shape("1M int8, wide queries", 1_000_000, 32, 8, 64, "int8"),
    Shape("1M int8", 1_000_000, 32, 8, 64, "int8", wide=False, at_most_ms=4.0),
    Shape("1M fp8", 1_000_000, 32, 8, 64, "fp8", wide=False, at_most_ms=4.0),
    Shape("10M int8", 10_000_000, 16, 5, 32, "int8", wide=False, at_most_ms=12.0),
    Shape("10M int8, 8 users", 10_000_000, 16, 5, 32, "int8", wide=False, users=8, at_most_ms=8.0),
    Shape("10M fp8", 10_000_000, 16, 5, 32, "fp8", wide=False, at_most_ms=12.0),
)
QUICK = (
    Shape(CANDIDATES, 100, 8, 2, 16, gathered=True, over_loop=4.0, over_peers=2.5, top=10),
    Shape(DOCUMENTS, 50, 40, 1, 32, over_peers=0.95, top=10),
    Shape("1M int8", 500, 8, 2, 16, "int8", wide=False, users=2, top=10, at_most_ms=4.0),
    Shape("1M int8, wide queries", 500, 8, 2, 16, "int8", users=2, top=10),
)
ROOFLINE_TARGET = 0.7
CHECKED_ITEMS = 256  # of each shape, in float64
COPY_BYTES = 4 << 30
GEMM = 8192  # rows, columns and depth of the products that give the ceilings
QUICK_COPY_BYTES, QUICK_GEMM = 1 << 20, 64
