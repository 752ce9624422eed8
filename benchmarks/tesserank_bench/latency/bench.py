"""What every part of the measurement works with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tesserank.server import TritonServer
from tesserank_bench.latency.material import Material
from tesserank_bench.latency.paths import HOT, TIMEOUT_S, Requests
from tesserank_bench.latency.plan import SIZES, Plan
from tesserank_client import Client


@dataclass(frozen=True)
class Bench:
    """One run. ``sizes``: those of plan.SIZES that the catalogue has items for; ``say`` prints a line of progress."""

    plan: Plan
    seed: int
    material: Material
    sizes: Sequence[int | None]
    say: Callable[[str], None]

    @property
    def requests(self) -> Requests:
        """Requests on this run's material."""
        return Requests(self.material)

    def repeats(self, repeats: Sequence[int], size: int | None) -> int:
        """Of a tuple parallel to plan.SIZES, the number for one of them."""
        return repeats[SIZES.index(size)]

    @property
    def fewest(self) -> int:
        """The smallest number of candidates."""
        return min(self.material.user(0).candidates)

    def warm_up(self, server: TritonServer) -> None:
        """Every user's segments into a server's caches, and whatever a first request makes it load."""
        with Client(server.urls.grpc, timeout=TIMEOUT_S) as client:
            for user in self.material.users:
                for _ in range(server.rankers):  # Triton goes from one to the next
                    client.recommend_many([self.requests.make(HOT, user, self.fewest)])


def named(size: int | None) -> int | str:
    """A number of candidates, as results say it."""
    return "catalogue" if size is None else size


Result = dict[str, Any]  # what a part adds to the result, by key; filled as it goes, so that Ctrl-C loses nothing
