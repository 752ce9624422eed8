"""What flash attention is called with, whichever torch it comes from: stand-ins have its signatures, on any machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.attention import varlen

from tesserank.encoding.pytorch.attention import _flash, _row_by_row

OFFSETS = torch.tensor([0, 3, 3, 8, 9], dtype=torch.int32)
CAUSAL, FULL = (-1, 0), (-1, -1)


def attend_2_11(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cu_seq_q: torch.Tensor, cu_seq_k: torch.Tensor,
    max_q: int, max_k: int, *, return_aux: Any = None, scale: float | None = None, window_size: tuple[int, int] = FULL,
) -> torch.Tensor:  # fmt: skip
    assert query.shape[1] == key.shape[1] == value.shape[1], "heads cannot be grouped"
    assert (max_q, max_k) == (5, 5)
    assert window_size in (CAUSAL, FULL)
    assert cu_seq_q is cu_seq_k
    return _row_by_row(query, key, value, cu_seq_q, max_q, scale, window_size == CAUSAL)


def attend_2_12(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cu_seq_q: torch.Tensor, cu_seq_k: torch.Tensor,
    max_q: int, max_k: int, *, return_aux: Any = None, scale: float | None = None, window_size: tuple[int, int] = FULL,
    enable_gqa: bool = False,
) -> torch.Tensor:  # fmt: skip
    assert enable_gqa == (query.shape[1] != key.shape[1])
    assert value.shape == key.shape
    return _row_by_row(query, key, value, cu_seq_q, max_q, scale, window_size == CAUSAL)


@pytest.mark.parametrize("attend", [attend_2_11, attend_2_12])
@pytest.mark.parametrize("key_heads", [1, 2, 6])
@pytest.mark.parametrize("causal", [True, False])
def test_flash_attention_says_what_the_reference_says(
    attend: Callable[..., torch.Tensor], key_heads: int, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(varlen, "varlen_attn", attend)
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(9, 6, 8, generator=generator)
    k, v = (torch.randn(9, key_heads, 8, generator=generator) for _ in range(2))
    torch.testing.assert_close(
        _flash(q, k, v, OFFSETS, 5, 0.25, causal), _row_by_row(q, k, v, OFFSETS, 5, 0.25, causal), rtol=0, atol=1e-6
    )


def test_this_torch_takes_what_flash_attention_is_called_with() -> None:
    from inspect import signature

    assert {"scale", "window_size", "enable_gqa"} <= set(signature(varlen.varlen_attn).parameters)
