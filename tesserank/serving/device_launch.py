"""What a GPU does for a batch of users: all that it needs goes there in one copy, what is found comes back in one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tesserank.maxsim.aggregate import ROUNDING
from tesserank.maxsim.gpu.aggregate import aggregate, top_k
from tesserank.maxsim.gpu.scores import Candidates, candidate_arrays
from tesserank.maxsim.gpu.upload import Parcel, download
from tesserank.serving.aggregation import sensitivity
from tesserank.serving.device_jobs import Found, Job, ResidentIndex
from tesserank.serving.device_space import COARSE, SpaceLaunch

# The whole catalogue is searched in two passes where queries of 8 bits, which multiply twice as fast, save more than
# the second pass costs. So many products of a token with an item's vector, of 128 dimensions, take an H200 .42 ms in
# float16 at what torch reaches there (docs/log.md); launching the second pass takes about .1.
WORTH_TWO_PASSES = 1 << 30
MOST_AGAIN = 1 / 4  # of these products in the second pass: its items are gathered, and shared by no two users
# Items that are scored again: so many times as many as are wanted, and at least so many. Of five items' segments in
# 12,101 items, up to 2.2 times as many were needed for the best 100, and 1.9 for the best ten.
KEPT, LEAST_KEPT = 4, 64
PATIENCE = 32  # users, of whom all may be searched for again before one pass is taken for a while


class Launcher:
    """Launches jobs, those of the whole catalogue in two passes where that pays.

    It does not where items' scores lie so close that what is left out cannot be told from the best: after some users
    more that had to be searched for again than had not, as many launches take one pass. Then it is tried again.
    """

    def __init__(self, index: ResidentIndex) -> None:
        self._index = index
        self._balance = PATIENCE

    def __call__(self, jobs: Sequence[Job]) -> list[Found]:
        """What the jobs selected, scored: all of them the whole catalogue, or each of them rows of its own."""
        if not _is_worth_two_passes(jobs, self._index):
            return Launch(jobs, self._index).found()
        if self._balance < 0:
            self._balance += 1
            return Launch(jobs, self._index).found()
        return self.in_two_passes(jobs)

    def in_two_passes(self, jobs: Sequence[Job]) -> list[Found]:
        """The same of jobs of the whole catalogue, whether it pays or not."""
        found = dict(enumerate(Launch(jobs, self._index, in_two_passes=True).found_in_two_passes()))
        unproven = [place for place, own in found.items() if own is None]
        self._balance = max(min(self._balance + len(jobs) - 2 * len(unproven), PATIENCE), -PATIENCE)
        if unproven:
            again = Launch([jobs[place] for place in unproven], self._index).found()
            found |= dict(zip(unproven, again, strict=True))
        return [own for own in found.values() if own is not None]


def _is_worth_two_passes(jobs: Sequence[Job], index: ResidentIndex) -> bool:
    if any(job.selected.rows is not None for job in jobs):
        return False
    keep = _kept(jobs, index.size)
    first, second = 0, 0.0
    for name, items in index.items.items():
        if items.storage == COARSE:
            tokens = sum(len(job.user.spaces[name].tokens) for job in jobs if name in job.user.spaces)
            first += tokens * len(items.vectors)
            second += tokens * items.mean_length * keep
    return first >= WORTH_TWO_PASSES and second <= MOST_AGAIN * first


def _kept(jobs: Sequence[Job], size: int) -> int:
    """How many items are scored again, for each user."""
    return min(max(KEPT * max(job.k for job in jobs), LEAST_KEPT), size)


class Launch:
    """Jobs, and on the device all that they need and that does not depend on what is found there: sent in one copy."""

    def __init__(self, jobs: Sequence[Job], index: ResidentIndex, in_two_passes: bool = False) -> None:
        self._jobs, self._index = jobs, index
        self._most = max(job.k for job in jobs)
        rows = [job.selected.rows for job in jobs]
        chosen = [own for own in rows if own is not None]
        lengths = [index.size if own is None else len(own) for own in rows]
        self._width = max(lengths)
        parcel = Parcel(index.device)
        counts = parcel.add(np.array(lengths, dtype=np.int64))
        # All users' rows of the catalogue are one job, so that each item is read once.
        arrays = candidate_arrays(chosen, index.size) if chosen else (np.array([0, index.size]),)
        candidates = parcel.add(*arrays)
        struck = parcel.add(*_struck_out(jobs))
        changes = [sensitivity(job.user, job.channels) for job in jobs] if in_two_passes else None
        last = parcel.add(*([np.array([[job.k - 1] for job in jobs])] if in_two_passes else []))
        names = dict.fromkeys(name for job in jobs for name in job.user.spaces)
        self._spaces = [SpaceLaunch(name, jobs, index, parcel, together=not chosen, changes=changes) for name in names]
        parcel.send()
        [self._counts] = parcel[counts]
        *picked, offsets = parcel[candidates]
        self._candidates = Candidates(picked[0] if picked else None, offsets, self._width)
        self._struck = parcel[struck]
        self._last = parcel[last]

    def found(self) -> list[Found]:
        """The best of each job."""
        units = [space.unit_scores(self._candidates) for space in self._spaces]
        scores = self._aggregated(units, self._counts, self._width)
        self._strike_out(scores)
        positions, best = top_k(scores, self._most)
        return _found(self._jobs, self._names, download(positions, best, *self._of_best(units, positions)))

    def found_in_two_passes(self) -> list[Found | None]:
        """The same, from scores by queries of 8 bits of all items, and by those of 16 of the few best of these.

        None where an item that was left out might be one of the best.
        """
        units = [space.unit_scores(self._candidates, coarse=True) for space in self._spaces]
        scores = self._aggregated(units, self._counts, self._width)
        self._strike_out(scores)
        keep = _kept(self._jobs, self._width)
        rows, coarse = top_k(scores, keep)
        rows, _ = rows.sort(dim=1)  # of equal scores the earlier item wins
        held = rows.clamp(min=0)
        kept = Candidates(held.view(-1), torch.arange(0, held.numel() + 1, keep, device=held.device), keep)
        units = [space.unit_scores_of(kept) for space in self._spaces]
        scores = self._aggregated(units, torch.full_like(self._counts, keep), keep)
        places, best = top_k(scores.masked_fill(rows < 0, float("-inf")), self._most)
        positions = torch.where(places < 0, -1, rows.gather(1, places.clamp(min=0)))
        [last] = self._last
        is_proven = self._is_proven(coarse, best.gather(1, last)) | (keep == self._width)
        *found, proven = download(positions, best, *self._of_best(units, places), is_proven.to(torch.int32))
        best_of = _found(self._jobs, self._names, found)
        return [own if sure else None for own, sure in zip(best_of, proven.tolist(), strict=True)]

    def _is_proven(self, coarse: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        """Whether no item that was left out, whose coarse score is at most the last of ``coarse`` [B, keep], can be
        better than the ``last`` [B, 1] of what is wanted: bool [B].
        """
        beyond = coarse[:, -1]
        error = ROUNDING * torch.maximum(coarse[:, 0].abs(), beyond.abs())
        for space in self._spaces:
            error = error + space.largest_error(len(self._jobs))
        return (beyond + error < last[:, 0]) | (beyond == float("-inf"))

    @property
    def _names(self) -> list[str]:
        return [space.name for space in self._spaces]

    def _aggregated(self, units: Sequence[torch.Tensor], counts: torch.Tensor, width: int) -> torch.Tensor:
        """One score an item, float32 [B, width]."""
        scores = torch.zeros((len(self._jobs), width), dtype=torch.float32, device=self._index.device)
        for space, own in zip(self._spaces, units, strict=True):
            for hierarchy in space.hierarchies:
                aggregate(own, hierarchy, counts, scores, add=True)
        return scores

    def _strike_out(self, scores: torch.Tensor) -> None:
        """-inf for what may not be in the answer."""
        users, columns = self._struck
        if len(users):
            scores[users, columns] = float("-inf")

    def _of_best(self, units: Sequence[torch.Tensor], columns: torch.Tensor) -> list[torch.Tensor]:
        """The units' scores of the best items, at ``columns`` [B, k]. Of nothing (-1) any: they are cut off later."""
        held = columns.clamp(min=0)
        return [own.gather(1, held[space.unit_users]) for space, own in zip(self._spaces, units, strict=True)]


def _struck_out(jobs: Sequence[Job]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Users and columns of what may not be in the answer."""
    allowed = [job.selected.allowed for job in jobs]
    struck = [np.empty(0, dtype=np.int64) if own is None else np.flatnonzero(~own) for own in allowed]
    return np.repeat(np.arange(len(jobs)), [len(own) for own in struck]), np.concatenate(struck)


def _found(jobs: Sequence[Job], names: Sequence[str], downloaded: Sequence[NDArray[Any]]) -> list[Found]:
    """Each user's own: of ``positions`` and ``scores`` [B, k], and of units [G, k] in each space."""
    where, values, *parts = downloaded
    begins = dict.fromkeys(names, 0)
    found = []
    for user, job in enumerate(jobs):
        count = min(int(np.count_nonzero(where[user] >= 0)), job.k)
        own = {}
        for name, part in zip(names, parts, strict=True):
            space = job.user.spaces.get(name)
            if space is not None:
                end = begins[name] + len(space.starts)
                own[name] = np.ascontiguousarray(part[begins[name] : end, :count].T)
                begins[name] = end
        found.append(Found(where[user, :count], values[user, :count], own))
    return found
