"""Items in device memory stand for what they say, and what launches are made of."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tesserank.maxsim.gpu.items import STORAGE, DeviceItems
from tesserank.maxsim.gpu.query import STEP
from tesserank.maxsim.gpu.tile import HOPPER, LEAST_TILE, MOST_SLOTS, choose
from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.vectors import KINDS, FloatVectors, quantise
from tests.gpu.problems import unit_rows


def some_items(dim: int = 24, lengths: tuple[int, ...] = (3, 1, 5)) -> Ragged:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Ragged(unit_rows(np.random.default_rng(0), sum(lengths), dim), offsets)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_index_stores_is_what_is_resident(kind: str, device: torch.device) -> None:
    items = quantise(kind, some_items())
    resident = DeviceItems.upload(items, device)
    assert len(resident) == len(items)
    assert resident.longest == 5
    np.testing.assert_allclose(resident.decode().vectors, items.decode().vectors, rtol=2**-23, atol=0)
    few = resident.decode(np.array([2, 0]))
    np.testing.assert_array_equal(few.item(0), resident.decode().item(2))
    np.testing.assert_array_equal(few.item(1), resident.decode().item(0))


@pytest.mark.parametrize(("storage", "error"), [("bfloat16", 2**-8), ("fp8", 2**-4), ("int8", 1 / 127)])
def test_items_may_be_stored_more_coarsely(storage: str, error: float, device: torch.device) -> None:
    items = quantise("float16", some_items())
    resident = DeviceItems.upload(items, device, storage)
    assert resident.vectors.dtype == STORAGE[storage][0]
    np.testing.assert_allclose(resident.decode().vectors, items.decode().vectors, rtol=0, atol=error * 0.6)
    assert resident.decode().vectors.any()


@pytest.mark.parametrize("dim", [1, 16, 24, 100])
def test_dimensions_are_filled_up_with_zeros(dim: int, device: torch.device) -> None:
    resident = DeviceItems.upload(quantise("int8", some_items(dim)), device)
    width = resident.vectors.shape[1]
    assert width == max(32, 1 << (dim - 1).bit_length())
    assert not resident.vectors[:, dim:].any()
    assert not resident.steps[dim:].any()


def test_items_that_cannot_be_resident_are_errors(device: torch.device) -> None:
    hollow = Ragged(unit_rows(np.random.default_rng(0), 3, 8), np.array([0, 2, 2, 3]))
    with pytest.raises(ValueError, match="item 1 has no vectors"):
        DeviceItems.upload(FloatVectors.quantise(hollow), device)
    with pytest.raises(ValueError, match=r"unknown storage 'int4'.*float16, bfloat16, int8, fp8"):
        DeviceItems.upload(FloatVectors.quantise(some_items()), device, "int4")
    with pytest.raises(ValueError, match="513 dimensions: at most 512"):
        DeviceItems.upload(FloatVectors.quantise(some_items(513)), device)


@given(
    longest=st.integers(1, 600),
    share=st.floats(0.05, 1),
    steps=st.integers(1, 100),
    candidates=st.integers(1, 10**8),
    vector_bytes=st.sampled_from((32, 128, 256, 512, 1024)),
)
def test_any_launch_has_a_tile_that_fits(
    longest: int, share: float, steps: int, candidates: int, vector_bytes: int
) -> None:
    tile = choose(longest, max(1.0, share * longest), steps, candidates, vector_bytes)
    for size in (tile.items, tile.slots):
        assert size & (size - 1) == 0
    assert tile.slots <= MOST_SLOTS
    assert LEAST_TILE <= tile.items * tile.slots <= 256
    # Items, and query rows for each stage, or the other way round, in the 227 KB of a multiprocessor of Hopper.
    tiles, queries = (1, tile.stages) if longest <= tile.slots else (1 + tile.stages, 1)
    assert (tiles * tile.items * tile.slots + queries * STEP) * vector_bytes <= 227 << 10


def test_the_tiles_to_try_are_all_different_and_fit() -> None:
    assert len(set(HOPPER)) == len(HOPPER)
    for tile in HOPPER:
        assert (tile.items * tile.slots + tile.stages * STEP) * 256 <= 227 << 10


def test_tesserank_itself_imports_neither_torch_nor_triton() -> None:
    code = (
        "import sys, tesserank.cli, tesserank.maxsim.cpu, tesserank.maxsim.gpu, tesserank.serving.ranker\n"
        "print(sorted({'torch', 'triton'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
