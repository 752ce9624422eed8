"""Users, items and candidates for the kernels, and the float64 reference's answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray

from tesserank.maxsim import reference
from tesserank.maxsim.gpu.bounds import error_bound
from tesserank.maxsim.gpu.items import DeviceItems
from tesserank.maxsim.gpu.query import Layout, Queries, pack
from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.vectors import quantise

# Kind in the index, storage on the device (None: exact), queries wide.
KINDS = (
    ("float16", None, True),
    ("float16", "bfloat16", True),
    ("float16", "fp8", True),
    ("float16", "fp8", False),
    ("int8", None, True),
    ("int8", None, False),
    ("int16", None, True),
)
SIGNS = ("any", "negative")


def unit_rows(rng: np.random.Generator, rows: int, dim: int) -> NDArray[np.float32]:
    vectors = rng.standard_normal((rows, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


@dataclass(frozen=True)
class Problem:
    """Users' tokens, one user after the other, and items; ``units[b]`` are the lengths of user b's units."""

    tokens: NDArray[np.float32]
    weights: NDArray[np.float32]
    units: list[list[int]]
    items: Ragged
    kind: tuple[str, str | None, bool]

    @property
    def counts(self) -> list[int]:
        return [sum(own) for own in self.units]

    @property
    def starts(self) -> list[NDArray[np.int64]]:
        return [np.concatenate([[0], np.cumsum(own)[:-1]]).astype(np.int64) for own in self.units]

    @property
    def flat_starts(self) -> NDArray[np.int64]:
        return np.concatenate([own + begin for own, begin in zip(self.starts, self.begins, strict=True)])

    @property
    def begins(self) -> NDArray[np.int64]:
        """Each user's first token."""
        return np.concatenate([[0], np.cumsum(self.counts)[:-1]]).astype(np.int64)

    @property
    def unit_users(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(self.units)), [len(own) for own in self.units])

    @cached_property
    def resident(self) -> DeviceItems:
        kind, storage, _ = self.kind
        return DeviceItems.upload(quantise(kind, self.items), "cuda" if torch.cuda.is_available() else "cpu", storage)

    def packed(self, together: bool = True) -> Queries:
        device = self.resident.vectors.device
        tokens, weights = torch.from_numpy(self.tokens).to(device), torch.from_numpy(self.weights).to(device)
        layout = Layout.of(self.counts, self.starts, together)
        return pack(tokens, weights, layout, self.resident, self.kind[2])

    @cached_property
    def exact(self) -> NDArray[np.float64]:
        """Every unit with every item, [G, N], in float64."""
        return reference.unit_scores(self.tokens, self.weights, self.flat_starts, self.resident.decode()).T

    @cached_property
    def bound(self) -> NDArray[np.float64]:
        return error_bound(self.tokens, self.weights, self.flat_starts, self.resident, self.kind[2])


def make_problem(
    seed: int,
    dim: int,
    lengths: list[int],
    units: list[list[int]],
    kind: tuple[str, str | None, bool],
    signs: str = "any",
) -> Problem:
    """``signs`` "negative": every similarity is below 0, so whatever is padded with 0 would win."""
    rng = np.random.default_rng(seed)
    tokens, vectors = unit_rows(rng, sum(map(sum, units)), dim), unit_rows(rng, sum(lengths), dim)
    if signs == "negative":
        tokens, vectors = np.abs(tokens), -np.abs(vectors)
    weights = rng.choice([0.0, 0.1, 1.0], len(tokens)).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Problem(tokens, weights, units, Ragged(vectors, offsets), kind)


one_each = st.lists(st.lists(st.just(1), min_size=1, max_size=20), min_size=1, max_size=3)
problems = st.builds(
    make_problem,
    seed=st.integers(0, 2**32),
    dim=st.integers(1, 40),
    lengths=st.lists(st.one_of(st.just(1), st.integers(1, 9), st.integers(30, 70)), min_size=1, max_size=20),
    units=one_each
    | st.lists(
        st.lists(st.one_of(st.integers(1, 12), st.integers(60, 90)), min_size=1, max_size=4), min_size=1, max_size=3
    ),
    kind=st.sampled_from(KINDS),
    signs=st.sampled_from(SIGNS),
)
