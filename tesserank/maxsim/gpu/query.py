"""Users' token vectors, packed as the kernels read them: in groups of rows that no two units share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from tesserank.maxsim.gpu import kernels
from tesserank.maxsim.gpu.items import STORAGE, DeviceItems
from tesserank.maxsim.gpu.upload import upload

GROUP = 8  # rows of a product that lie in one register each of eight threads
STEP = 64  # rows that a program multiplies at a time: what tensor cores of Hopper take
PLACES = STEP // GROUP  # of groups in a step


@dataclass(frozen=True)
class Layout:
    """Where the Q tokens of G units of B users go, in host memory: P rows, in groups of ``group``, of J jobs.

    A job's groups, unit after unit, fill the first place of all its steps, then the second place, and so on: the groups
    of a unit follow each other in a place, and their sum can wait there until the unit ends. A unit that goes on in the
    next place has a piece in each.

    ``sources`` int32 [P]: the token of each row, -1 for padding; ``group_pieces`` int32 [P / group]: the piece that
    ends with each group, -1 for none; ``step_ends`` int32 [P / STEP]: whether one ends in a step (unused if ``group``
    is 1); ``job_rows`` int32 [J + 1]: where each job's rows begin; ``unit_pieces`` int32 [G + 1]: each unit's first
    piece; ``unit_jobs`` int32 [G].
    """

    sources: NDArray[np.int32]
    group_pieces: NDArray[np.int32]
    step_ends: NDArray[np.int32]
    job_rows: NDArray[np.int32]
    unit_pieces: NDArray[np.int32]
    unit_jobs: NDArray[np.int32]
    group: int

    @staticmethod
    def of(token_counts: Sequence[int], starts: Sequence[NDArray[np.int64]], together: bool = False) -> Layout:
        """For users of ``token_counts[b]`` tokens in units that begin at ``starts[b]``, strictly increasing from 0.

        Each user is a job, or all ``together`` are one: for items that are the same for all. Where every unit has one
        token, groups are of one row, and nothing is padded.
        """
        lengths = [np.diff(own, append=count) for own, count in zip(starts, token_counts, strict=True)]
        flat = np.concatenate([np.empty(0, dtype=np.int64), *lengths])
        jobs = [len(flat)] if together else [len(own) for own in starts]
        unit_jobs = np.repeat(np.arange(len(jobs)), jobs)
        if flat.max(initial=0) <= 1:
            return Layout._of_rows(unit_jobs, len(jobs))
        return Layout._of_groups(flat, unit_jobs, len(jobs))

    @staticmethod
    def _of_rows(unit_jobs: NDArray[np.int64], jobs: int) -> Layout:
        """Units of one token each."""
        rows = np.arange(len(unit_jobs) + 1, dtype=np.int32)
        job_rows = _offsets(np.bincount(unit_jobs, minlength=jobs))
        nothing = np.zeros(0, dtype=np.int32)
        return Layout(rows[:-1], rows[:-1], nothing, job_rows, rows, unit_jobs.astype(np.int32), 1)

    @staticmethod
    def _of_groups(lengths: NDArray[np.int64], unit_jobs: NDArray[np.int64], jobs: int) -> Layout:
        taken = -(-lengths // GROUP)  # groups of each unit
        units = np.repeat(np.arange(len(lengths)), taken)
        counts = np.bincount(unit_jobs[units], minlength=jobs)  # groups of each job
        steps = -(-counts // PLACES)
        job_steps = _offsets(steps)
        own_steps = np.repeat(steps, counts)
        place, step = np.divmod(np.arange(len(units)) - np.repeat(_offsets(counts)[:-1], counts), own_steps)
        packed = (np.repeat(job_steps[:-1], counts) + step) * PLACES + place  # where each group lies
        ends = (step == own_steps - 1) | (np.diff(units, append=-1) != 0)
        group_pieces = np.full(int(job_steps[-1]) * PLACES, -1, dtype=np.int32)
        group_pieces[packed[ends]] = np.arange(np.count_nonzero(ends))
        # A token's place if units were padded but nothing moved: its group, and its row in it.
        tokens = np.arange(lengths.sum())
        group, row = np.divmod(
            tokens + np.repeat(GROUP * _offsets(taken)[:-1] - _offsets(lengths)[:-1], lengths), GROUP
        )
        sources = np.full(len(group_pieces) * GROUP, -1, dtype=np.int32)
        sources[packed[group] * GROUP + row] = tokens
        return Layout(
            sources=sources,
            group_pieces=group_pieces,
            step_ends=(group_pieces.reshape(-1, PLACES) >= 0).any(axis=1).astype(np.int32),
            job_rows=STEP * job_steps,
            unit_pieces=_offsets(np.bincount(units[ends], minlength=len(lengths))),
            unit_jobs=unit_jobs.astype(np.int32),
            group=GROUP,
        )

    def reading(self, places: NDArray[np.int64] | None) -> Layout:
        """The same of tokens that lie elsewhere: each at ``places`` [Q]; None: where they did."""
        if places is None:
            return self
        return replace(self, sources=np.where(self.sources < 0, -1, places[self.sources]).astype(np.int32))

    @property
    def arrays(self) -> tuple[NDArray[np.int32], ...]:
        """What the kernels read of it, in the order that ``pack`` takes them in."""
        return (
            self.sources,
            self.group_pieces,
            self.step_ends,
            self.job_rows,
            self.unit_pieces,
            self.unit_jobs,
        )

    @property
    def units(self) -> int:
        return len(self.unit_jobs)

    @property
    def jobs(self) -> int:
        return len(self.job_rows) - 1

    @property
    def most_steps(self) -> int:
        """Of a job."""
        return -(-int(np.diff(self.job_rows).max(initial=0)) // STEP)

    @property
    def pieces(self) -> int:
        """Up to PLACES - 1 a job more than there are units."""
        return int(self.unit_pieces[-1])


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int32]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


@dataclass(frozen=True)
class Queries:
    """Packed queries on a device: ``rows`` [P, D], ``sizes`` and ``factors`` float32 [P], and a ``Layout`` as tensors.

    A token times the items' steps is its row times its size, rounded; its factor is its size times its weight.
    """

    rows: torch.Tensor
    sizes: torch.Tensor
    factors: torch.Tensor
    sources: torch.Tensor
    group_pieces: torch.Tensor
    step_ends: torch.Tensor
    job_rows: torch.Tensor
    unit_pieces: torch.Tensor
    unit_jobs: torch.Tensor
    layout: Layout


def pack(
    tokens: torch.Tensor,
    weights: torch.Tensor,
    layout: Layout,
    items: DeviceItems,
    wide: bool = True,
    there: Sequence[torch.Tensor] | None = None,
) -> Queries:
    """Pack ``tokens`` [Q, d] of any float type and their ``weights`` float32 [Q], all users' one after the other.

    ``there``: ``layout.arrays`` on the device, if they are there already.
    ``wide``: as float16 (bfloat16 for such items), whatever the items are stored as; else of the items' own type, which
    multiplies twice as fast where that has 8 bits, and rounds the query as coarsely as the items.
    """
    if tokens.shape[1] != items.dim:
        raise ValueError(f"query tokens of {tokens.shape[1]} dimensions, item vectors of {items.dim}")
    there = upload(items.vectors.device, *layout.arrays) if there is None else there
    sources, group_pieces, step_ends, job_rows, unit_pieces, unit_jobs = there
    dtype, _ = STORAGE[query_type(items, wide)]
    count = len(layout.sources)
    rows = torch.empty((count, items.vectors.shape[1]), dtype=dtype, device=items.vectors.device)
    sizes, factors = torch.empty((2, count), dtype=torch.float32, device=items.vectors.device)
    queries = Queries(
        rows, sizes, factors, sources, group_pieces, step_ends, job_rows, unit_pieces, unit_jobs, layout
    )  # fmt: skip
    pack_into(queries, tokens, weights, items)
    return queries


def pack_into(queries: Queries, tokens: torch.Tensor, weights: torch.Tensor, items: DeviceItems) -> None:
    """Write the rows and factors of ``queries`` anew, from tokens in the same places: nothing is allocated."""
    if not len(queries.sources):
        return
    peak = next(peak for dtype, peak in STORAGE.values() if dtype == queries.rows.dtype)
    # The interpreter loses a carry when it rounds to fp8 (127.9 becomes 64), so there torch rounds.
    by_torch = kernels.INTERPRETED and queries.rows.dtype == torch.float8_e4m3fn
    rows = queries.rows.to(torch.float32) if by_torch else queries.rows
    kernels.pack[(len(queries.sources),)](
        tokens.contiguous(), weights, queries.sources, items.steps, rows, queries.sizes, queries.factors,
        items.dim, peak, D=items.vectors.shape[1], ROUND=queries.rows.dtype == torch.int8,
        num_warps=1, enable_fp_fusion=True,
    )  # fmt: skip
    if by_torch:
        queries.rows.copy_(rows)


def query_type(items: DeviceItems, wide: bool) -> str:
    """What queries are packed as: a name of STORAGE."""
    return items.storage if not wide or items.storage == "bfloat16" else "float16"
