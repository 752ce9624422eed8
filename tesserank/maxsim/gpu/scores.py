"""Launching MaxSim: many users' units against each user's candidates, or against all resident items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tesserank.maxsim.gpu import kernels
from tesserank.maxsim.gpu.items import DeviceItems
from tesserank.maxsim.gpu.query import STEP, Queries
from tesserank.maxsim.gpu.tile import Tile, choose
from tesserank.maxsim.gpu.upload import upload

BLOCK = 1024  # items of a program that adds up pieces


@dataclass(frozen=True)
class Candidates:
    """Which items each of J jobs scores, on a device.

    ``rows`` int64 [C], job after job; None: every job has all items. ``offsets`` int64 [J + 1] says where each job's
    begin. ``most`` is what the grid is made for: no job has more. Jobs are those of the queries' ``Layout``: users, or
    all users together.
    """

    rows: torch.Tensor | None
    offsets: torch.Tensor
    most: int

    @staticmethod
    def all(items: DeviceItems) -> Candidates:
        """Every item, for all users at once: each is read from memory once."""
        (offsets,) = upload(items.vectors.device, np.array([0, len(items)]))
        return Candidates(None, offsets, len(items))

    @staticmethod
    def of(rows: Sequence[NDArray[np.int64]], items: DeviceItems) -> Candidates:
        """Rows of items for each user. Raises IndexError as ``candidate_arrays``."""
        flat, offsets = upload(items.vectors.device, *candidate_arrays(rows, len(items)))
        return Candidates(flat, offsets, max(map(len, rows), default=0))


def candidate_arrays(rows: Sequence[NDArray[np.int64]], items: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``rows`` and ``offsets`` of Candidates, on the host, of rows of so many items for each user.

    Raises IndexError for one that is none: kernels do not look where they read.
    """
    flat = np.concatenate([np.empty(0, dtype=np.int64), *rows])
    if len(flat) and not 0 <= int(flat.min()) <= int(flat.max()) < items:
        raise IndexError(f"rows from {flat.min()} to {flat.max()}, but there are {items:,} items")
    return flat, np.cumsum([0, *map(len, rows)], dtype=np.int64)


def unit_scores(
    queries: Queries,
    items: DeviceItems,
    candidates: Candidates,
    tile: Tile | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """MaxSim of all G units with the candidates of their user -> float32 [G, most], position by position.

    Columns beyond a user's candidates are not written. Nothing waits for the device, so a CUDA graph can capture it,
    with an ``out`` of its own. See ``reference.unit_scores``.
    """
    layout = queries.layout
    jobs = len(candidates.offsets) - 1
    if jobs != layout.jobs:
        raise ValueError(f"candidates of {jobs} jobs, queries of {layout.jobs}: users who share items are one together")
    device = items.vectors.device
    scores = torch.empty((layout.units, candidates.most), dtype=torch.float32, device=device) if out is None else out
    if not scores.numel():
        return scores
    if layout.pieces == layout.units:
        _piece_scores(queries, items, candidates, tile, scores)
        return scores
    pieces = torch.empty((layout.pieces, candidates.most), dtype=torch.float32, device=device)
    _piece_scores(queries, items, candidates, tile, pieces)
    kernels.add_pieces[(-(-candidates.most // BLOCK), layout.units)](
        pieces, queries.unit_pieces, queries.unit_jobs, candidates.offsets, scores, pieces.stride(0), scores.stride(0),
        BLOCK=BLOCK, num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
    return scores


def _piece_scores(
    queries: Queries, items: DeviceItems, candidates: Candidates, tile: Tile | None, out: torch.Tensor
) -> None:
    layout = queries.layout
    width = items.vectors.shape[1]
    row_bytes = width * max(items.vectors.element_size(), queries.rows.element_size())
    tile = tile or choose(items.longest, items.mean_length, layout.most_steps, candidates.most * layout.jobs, row_bytes)
    kernels.piece_scores[(-(-candidates.most // tile.items), layout.jobs)](
        queries.rows, queries.factors, queries.group_pieces, queries.step_ends, queries.job_rows, items.vectors,
        items.offsets, candidates.offsets if candidates.rows is None else candidates.rows, candidates.offsets, out,
        out.stride(0), D=width, STEP=STEP, ITEMS=tile.items, SLOTS=tile.slots, GROUP=layout.group,
        WHOLE=items.longest <= tile.slots, GATHER=candidates.rows is not None,
        PRODUCT=kernels.product_type(queries.rows.dtype),
        num_warps=tile.warps, num_stages=tile.stages, enable_fp_fusion=True,
    )  # fmt: skip


@dataclass(frozen=True)
class TokenPairs:
    """Which of an item's token vectors each query token likes best, of one user: the explanation of unit scores.

    ``tokens`` int32 [k, Q] counts from the item's first; ``similarities`` float32 [k, Q]. -1 and NaN for no item.
    """

    tokens: torch.Tensor
    similarities: torch.Tensor


def token_pairs(queries: Queries, items: DeviceItems, rows: torch.Tensor) -> list[TokenPairs]:
    """The best token pairs of every user with k items, ``rows`` int64 [B, k] (-1: none), in the order of ``pack``'s
    tokens. Users must not be packed together.

    Nothing waits for the device, but it is meant for the few items of an answer.
    """
    users, k = rows.shape
    layout = queries.layout
    if users != layout.jobs:
        raise ValueError(f"items of {users} users, queries of {layout.jobs}")
    counts = np.diff(layout.job_rows).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(counts * k)])
    device = items.vectors.device
    (outputs,) = upload(device, offsets)
    tokens = torch.full((int(offsets[-1]),), -1, dtype=torch.int32, device=device)
    products = torch.full((int(offsets[-1]),), float("nan"), dtype=torch.float32, device=device)
    if len(tokens):
        kernels.token_pairs[(k, users)](
            queries.rows, queries.job_rows, outputs, items.vectors, items.offsets, rows.contiguous(), tokens, products,
            k, D=items.vectors.shape[1], ROWS=64, SLOTS=32, PRODUCT=kernels.product_type(queries.rows.dtype),
            num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
    found = []
    for user, (begin, end) in enumerate(zip(layout.job_rows[:-1], layout.job_rows[1:], strict=True)):
        sources = layout.sources[begin:end]
        in_order = np.argsort(sources, kind="stable")[np.count_nonzero(sources < 0) :]
        real = torch.from_numpy(in_order).to(device)
        sizes = queries.sizes[int(begin) : int(end)][real]
        own = slice(int(offsets[user]), int(offsets[user + 1]))
        shape = (k, int(end - begin))
        found.append(TokenPairs(tokens[own].view(shape)[:, real], products[own].view(shape)[:, real] * sizes))
    return found
