"""Users' token vectors, packed as the kernels read them: unit after unit, in groups of rows that no two units share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tesserank.maxsim.gpu import kernels
from tesserank.maxsim.gpu.items import STORAGE, DeviceItems
from tesserank.maxsim.gpu.upload import upload

GROUP = 8  # rows of a product that lie in one register each of eight threads


@dataclass(frozen=True)
class Layout:
    """Where the Q tokens of G units of B users go, in host memory: P rows, in groups of ``group``.

    ``sources`` int32 [P]: the token of each row, -1 for padding; ``group_units`` int32 [P / group]: the unit of each
    group; ``user_rows`` int32 [B + 1]: where each user's rows begin.
    """

    sources: NDArray[np.int32]
    group_units: NDArray[np.int32]
    user_rows: NDArray[np.int32]
    units: int
    group: int

    @staticmethod
    def of(token_counts: Sequence[int], starts: Sequence[NDArray[np.int64]]) -> Layout:
        """For users of ``token_counts[b]`` tokens in units that begin at ``starts[b]``, strictly increasing from 0.

        Where every unit has one token, groups are of one row, and nothing is padded.
        """
        lengths = [np.diff(own, append=count) for own, count in zip(starts, token_counts, strict=True)]
        flat = np.concatenate([np.empty(0, dtype=np.int64), *lengths])
        group = 1 if flat.max(initial=0) <= 1 else GROUP
        taken = -(-flat // group) * group
        begins = np.concatenate([[0], np.cumsum(taken)])
        sources = np.full(begins[-1], -1, dtype=np.int32)
        tokens = np.arange(flat.sum())
        sources[tokens + np.repeat(begins[:-1] - (np.cumsum(flat) - flat), flat)] = tokens
        user_units = np.concatenate([[0], np.cumsum([len(own) for own in starts])]).astype(np.int64)
        group_units = np.repeat(np.arange(len(flat), dtype=np.int32), taken // group)
        return Layout(sources, group_units, begins[user_units].astype(np.int32), len(flat), group)

    @property
    def most_rows(self) -> int:
        """Rows of the user who has most."""
        return int(np.diff(self.user_rows).max(initial=0))


@dataclass(frozen=True)
class Queries:
    """Packed queries on a device: ``rows`` [P, D], ``sizes`` and ``factors`` float32 [P], and a ``Layout`` as tensors.

    A token times the items' steps is its row times its size, rounded; its factor is its size times its weight.
    """

    rows: torch.Tensor
    sizes: torch.Tensor
    factors: torch.Tensor
    sources: torch.Tensor
    group_units: torch.Tensor
    user_rows: torch.Tensor
    layout: Layout


def pack(tokens: torch.Tensor, weights: torch.Tensor, layout: Layout, items: DeviceItems, wide: bool = True) -> Queries:
    """Pack ``tokens`` [Q, d] of any float type and their ``weights`` float32 [Q], all users' one after the other.

    ``wide``: as float16 (bfloat16 for such items), whatever the items are stored as; else of the items' own type, which
    multiplies twice as fast where that has 8 bits, and rounds the query as coarsely as the items.
    """
    if tokens.shape[1] != items.dim:
        raise ValueError(f"query tokens of {tokens.shape[1]} dimensions, item vectors of {items.dim}")
    sources, group_units, user_rows = upload(items.vectors.device, layout.sources, layout.group_units, layout.user_rows)
    dtype, _ = STORAGE[query_type(items, wide)]
    rows = torch.empty((len(sources), items.vectors.shape[1]), dtype=dtype, device=items.vectors.device)
    sizes, factors = torch.empty((2, len(sources)), dtype=torch.float32, device=items.vectors.device)
    queries = Queries(rows, sizes, factors, sources, group_units, user_rows, layout)
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
