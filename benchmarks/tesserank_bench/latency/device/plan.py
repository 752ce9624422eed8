"""How much is measured of each backbone: minutes, of which the cross-encoder takes most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tesserank_bench.latency import plan as cpu
from tesserank_bench.latency.material import Context
from tesserank_bench.latency.paths import COLD, HOT, WARM

CROSS = "cross-encoder"
PATHS = {
    CROSS: "one forward pass a pair of history and candidate, on the same backbone, by the same engine",
    COLD: "the text segments of a user, none of them cached",
    WARM: "the same, only the newest not cached",
    HOT: "the same, all cached",
}
Samples = Mapping[int, int]  # by candidates


@dataclass(frozen=True)
class DevicePlan:
    """``loads`` says what many callers ask; ``samples`` what one does, by path and candidates.

    ``heavy``: samples of CROSS for backbones of whose pairs ten thousand take minutes. ``rankers``: processes of
    segment_ranker that SMALL backbones are also served by; None: for every other core.
    """

    context: Context
    samples: Mapping[str, Samples]
    heavy: Samples
    pair_rows: int  # pairs of one forward pass of the cross-encoder
    loads: cpu.Plan
    rankers: int | None = None

    @property
    def sizes(self) -> list[int]:
        """Numbers of candidates."""
        return sorted({size for samples in self.samples.values() for size in samples})


HEAVY = ("7b",)
SMALL = ("minilm", "tiny")  # each process of segment_ranker has a backbone of its own
CONTEXT = Context(segments=8, tokens=64)
FULL = DevicePlan(
    context=CONTEXT,
    samples={
        CROSS: {100: 10, 1_000: 5, 10_000: 1},
        COLD: {100: 100, 1_000: 100, 10_000: 50},
        WARM: {100: 200, 1_000: 200, 10_000: 50},
        HOT: {100: 400, 1_000: 200, 10_000: 50},
    },
    heavy={100: 3, 1_000: 2},
    pair_rows=256,
    loads=replace(
        cpu.FULL,
        users=64,
        rounds=10,
        callers=(1, 8, 32, 64, 128),
        load_requests={(COLD, cpu.COMPARED): 512, (WARM, cpu.COMPARED): 2_048, (HOT, cpu.COMPARED): 8_192},
        contest_requests=2_048,
        contest_callers=64,
        contest_paths=(WARM, WARM, WARM, WARM, HOT),
    ),
)
# To see that it works, on a CPU too.
QUICK = DevicePlan(
    context=Context(segments=8, tokens=16),
    samples={CROSS: {10: 1, 100: 1}, **{path: {10: 3, 100: 3} for path in (COLD, WARM, HOT)}},
    heavy={10: 1},
    pair_rows=32,
    loads=replace(
        cpu.QUICK,
        users=8,
        rounds=3,
        observed=3,
        callers=(1, 4),
        load_requests={(HOT, cpu.COMPARED): 24},
        contest_requests=40,
        contest_callers=4,
        contest_paths=FULL.loads.contest_paths,
    ),
    rankers=2,
)
