"""How much is measured: as much as fits a quarter of an hour, or about a minute with --quick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tesserank_bench.latency.paths import COLD, CROSS_FP32, CROSS_INT8, HOT, ITEMS, ONE_SEGMENT, WARM

CATALOGUE = None  # candidates: all there are
SIZES: tuple[int | None, ...] = (10, 100, 1_000, CATALOGUE)
COMPARED = 100  # candidates, wherever their number is not what is varied
Repeats = tuple[int, int, int, int]  # of each of SIZES


@dataclass(frozen=True)
class Plan:
    """Samples of each figure. A cross-encoder takes half a minute and more for 1,000 pairs: few of those."""

    users: int
    rounds: int
    served: Mapping[str, Repeats]  # by path
    in_process: Mapping[str, Repeats]
    observed: int  # requests of each path whose stages are read from the server
    callers: tuple[int, ...]
    load_requests: Mapping[tuple[str, int | None], int]  # by path and candidates: of all callers of a load together
    requests_each: int  # of a caller, at least, or the loads' ends would weigh too much
    load_repeats: int  # loads of each kind and number of callers
    contest_requests: int  # of all callers of a load, for the cache against no cache
    contest_repeats: int
    contest_callers: int
    contest_paths: tuple[str, ...]  # in turn, so that one segment in ten is new
    mixed_requests: int  # of all callers together, for the padding of texts of mixed lengths
    history_lengths: tuple[int, ...]
    history_repeats: int
    reference_users: int  # whose rankings are compared with the float64 reference's
    every_export: bool  # or the first alone, on one server: no contest without a cache, no cut by content


MIXED_CALLERS = 8

FULL = Plan(
    users=32,
    rounds=50,
    served={
        CROSS_FP32: (5, 3, 1, 0),
        CROSS_INT8: (10, 6, 3, 0),
        ONE_SEGMENT: (50, 100, 50, 50),
        COLD: (50, 100, 100, 50),
        WARM: (100, 200, 200, 100),
        HOT: (200, 1_000, 200, 100),
        ITEMS: (100, 200, 200, 100),
    },
    in_process={
        COLD: (0, 50, 50, 0),
        WARM: (0, 100, 100, 0),
        HOT: (100, 1_000, 200, 100),
        ITEMS: (0, 100, 100, 0),
    },
    observed=40,
    callers=(1, 2, 4, 8, 16, 32),
    load_requests={
        (COLD, COMPARED): 120,
        (WARM, COMPARED): 240,
        (HOT, COMPARED): 480,
        (ITEMS, COMPARED): 480,
        (HOT, CATALOGUE): 120,
    },
    requests_each=8,
    load_repeats=2,
    contest_requests=384,
    contest_repeats=3,
    contest_callers=32,
    contest_paths=(WARM, HOT),
    mixed_requests=160,
    history_lengths=(20, 50, 100, 200, 500, 1_000, 2_000),
    history_repeats=60,
    reference_users=16,
    every_export=True,
)
QUICK = Plan(
    users=32,
    rounds=5,
    served={
        CROSS_FP32: (1, 0, 0, 0),
        CROSS_INT8: (2, 1, 0, 0),
        ONE_SEGMENT: (5, 5, 5, 5),
        COLD: (5, 10, 5, 5),
        WARM: (5, 20, 5, 5),
        HOT: (5, 100, 5, 5),
        ITEMS: (5, 10, 5, 5),
    },
    in_process={COLD: (0, 5, 0, 0), WARM: (0, 5, 0, 0), HOT: (0, 100, 5, 5), ITEMS: (0, 5, 0, 0)},
    observed=5,
    callers=(1, 8, 32),
    load_requests={(COLD, COMPARED): 16, (HOT, COMPARED): 48},
    requests_each=4,
    load_repeats=1,
    contest_requests=64,
    contest_repeats=1,
    contest_callers=32,
    contest_paths=(WARM, HOT),
    mixed_requests=32,
    history_lengths=(20, 2_000),
    history_repeats=4,
    reference_users=1,
    every_export=False,  # to look at an export takes seconds, to start a server ten
)
