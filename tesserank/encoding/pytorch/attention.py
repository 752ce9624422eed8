"""Attention within each of several rows that are packed into one, for transformers' models.

Models call it with what they would give to flash attention: the rows' offsets and the longest row. On a GPU it is
flash attention for rows of varying lengths; elsewhere, and as the reference, one row after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from inspect import signature
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

NAME = "tesserank_packed"
HALVES = (torch.float16, torch.bfloat16)  # what flash attention multiplies
_HEAD_STEP, _WIDEST_HEAD = 8, 256


def can_pack(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """Whether packed rows can be attended to there: flash attention has its limits, the reference has none."""
    return device.type != "cuda" or (dtype in HALVES and head_dim % _HEAD_STEP == 0 and head_dim <= _WIDEST_HEAD)


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """``query`` [1, heads, T, d], ``key`` and ``value`` [1, their heads, T, d] -> [1, T, heads, d].

    ``cu_seq_lens_q`` int32 [R + 1] and ``max_length_q`` come from the caller of the model. Raises NotImplementedError
    for attention within a window.
    """
    if sliding_window is not None:
        raise NotImplementedError("attention within a window")
    causal = bool(getattr(module, "is_causal", False)) if is_causal is None else is_causal
    offsets = kwargs["cu_seq_lens_q"]
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    attend = _flash if query.is_cuda else _row_by_row
    return attend(q, k, v, offsets, kwargs["max_length_q"], scaling, causal)[None], None


def _flash(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    offsets: torch.Tensor,
    longest: int,
    scale: float | None,
    causal: bool,
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    options: dict[str, Any] = {"scale": scale, "window_size": (-1, 0) if causal else (-1, -1)}
    if q.shape[1] != k.shape[1]:
        if _groups_heads(varlen_attn):
            options["enable_gqa"] = True
        else:
            k, v = (states.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for states in (k, v))
    attended: torch.Tensor = varlen_attn(q, k, v, offsets, offsets, longest, longest, **options)
    return attended


@cache
def _groups_heads(attend: Callable[..., Any]) -> bool:
    """Whether it takes fewer heads of keys than of queries: torch's does from 2.12 on."""
    return "enable_gqa" in signature(attend).parameters


def _row_by_row(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    offsets: torch.Tensor,
    longest: int,
    scale: float | None,
    causal: bool,
) -> torch.Tensor:
    """[T, heads, d] each; what belongs to no row is 0."""
    attended = torch.zeros_like(q)
    ends = offsets.tolist()
    for begin, end in pairwise(ends):
        if begin < end:
            own_q, own_k, own_v = (states[begin:end].transpose(0, 1) for states in (q, k, v))
            row = scaled_dot_product_attention(
                own_q, own_k, own_v, is_causal=causal, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
            )
            attended[begin:end] = row.transpose(0, 1)
    return attended


AttentionInterface.register(NAME, packed_attention)
