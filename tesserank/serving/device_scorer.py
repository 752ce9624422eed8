"""Ranking on a GPU: the same answers as ``SegmentScorer``, of many users and of several requests at once.

The index lies in device memory from the start. What crosses to it is where users' tokens lie in it, those that do not,
and the rows of candidates; what comes back are the best items, their scores, and the scores of their units, of which
the explanation is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter

import torch

from tesserank.devices import choose_device, current
from tesserank.index import ItemIndex
from tesserank.segments.config import SegmentsConfig
from tesserank.serving.aggregation import ChannelAggregation
from tesserank.serving.device_jobs import Found, Job, ResidentIndex
from tesserank.serving.device_launch import Launcher
from tesserank.serving.device_tokens import PARTS
from tesserank.serving.request import RankingOptions, check_options
from tesserank.serving.scorer import Ranking, warm_up_users
from tesserank.serving.segments import UserSegments
from tesserank.serving.selection import Selection

# Of scores of units and their pieces that lie in memory at once; users beyond it are scored after the others.
SCORES_BYTES = 1 << 30
MOST_ROWS = 1 << 15  # of these scores; the second axis of a CUDA grid, which units are, ends at 65,535


class DeviceScorer:
    """Ranks the items of an index on a device, which holds them: a GPU, or in tests the CPU, interpreted.

    The whole catalogue is searched, whatever the segments file says of searching it pruned. Users' token vectors may
    be places in the index, if it ``looks_up`` what lies there.
    """

    # Launching takes most of the time of a request for candidates, and is the same for many.
    together = 64
    form = PARTS

    def __init__(self, index: ItemIndex, config: SegmentsConfig, device: str, looks_up: bool = True) -> None:
        """Raises ConfigError for a device that is not there."""
        self._index = index
        self._config = config
        self._device = choose_device(device)
        self._selection = Selection(index)
        self._aggregation = ChannelAggregation(index, config)
        looked_up = config.history.spaces if looks_up else ()
        self._resident = ResidentIndex.upload(index, self._device, looked_up)
        self._launch = Launcher(self._resident)

    @property
    def nbytes(self) -> int:
        """Bytes of device memory that the index takes."""
        return self._resident.nbytes

    def warm_up(self) -> None:
        """Compile the kernels (seconds): with all items, in one pass and in two, and with candidates."""
        first = self._index.item_ids[0].encode()
        for user in warm_up_users(self._index, self._config):
            self.rank([user, user], [RankingOptions(top_k=1), RankingOptions(candidates=[first], top_k=1)])
            with current(self._device), torch.inference_mode():
                self._launch.in_two_passes(self._jobs([user], [RankingOptions(top_k=1)]))

    def rank(self, users: Sequence[UserSegments], options: Sequence[RankingOptions]) -> list[Ranking]:
        """Rank for each of B users. Raises a RequestError naming the user's row if an option cannot be used."""
        rankings = dict(self.rank_each(users, options))
        return [rankings[place] for place in range(len(users))]

    def rank_each(
        self, users: Sequence[UserSegments], options: Sequence[RankingOptions]
    ) -> Iterator[tuple[int, Ranking]]:
        """See ``Scorer``: batch by batch, those of candidates first, which are quick."""
        started = perf_counter()
        jobs = self._jobs(users, options)
        share = (perf_counter() - started) / max(len(jobs), 1)
        for batch in self._batches(jobs):
            began = perf_counter()
            with current(self._device), torch.inference_mode():
                found = self._launch(batch)
            seconds = {"propose": share, "maxsim": (perf_counter() - began) / len(batch)}
            for job, own in zip(batch, found, strict=True):
                yield job.place, self._explained(job, own, seconds)

    def _jobs(self, users: Sequence[UserSegments], options: Sequence[RankingOptions]) -> list[Job]:
        limits, size = self._config.limits, len(self._index)
        ks = [check_options(option, size, limits, row) for row, option in enumerate(options)]
        return [
            Job(row, user, self._selection.select(user, option, k, row), k, self._aggregation.channels(user))
            for row, (user, option, k) in enumerate(zip(users, options, ks, strict=True))
        ]

    def _batches(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        """Jobs that are launched together: all on the whole catalogue, or each on rows of its own."""
        for exhaustive in (False, True):
            batch: list[Job] = []
            rows = width = 0
            for job in jobs:
                if (job.selected.rows is None) != exhaustive:
                    continue
                own = len(self._index) if job.selected.rows is None else len(job.selected.rows)
                together = rows + job.score_rows
                if batch and (together > MOST_ROWS or 4 * together * max(width, own) > SCORES_BYTES):
                    yield batch
                    batch, rows, width = [], 0, 0
                batch.append(job)
                rows, width = rows + job.score_rows, max(width, own)
            if batch:
                yield batch

    def _explained(self, job: Job, found: Found, seconds: dict[str, float]) -> Ranking:
        began = perf_counter()
        top = {name: self._aggregation.of_units(job.user, name, units) for name, units in found.units.items()}
        segment_scores, shares = self._aggregation.explained(job.user, job.channels, top)
        rows = job.selected.rows
        return Ranking(
            rows=found.positions if rows is None else rows[found.positions],
            scores=found.scores,
            segment_scores=segment_scores,
            contributions=shares,
            unknown_candidates=job.selected.unknown,
            seconds=seconds | {"aggregate": perf_counter() - began},
        )
