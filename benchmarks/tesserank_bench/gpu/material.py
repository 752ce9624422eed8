"""Random users and items of a shape, made on the device: at ten million items a host's copy would take minutes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from tesserank.maxsim.gpu.aggregate import Channel, Hierarchy
from tesserank.maxsim.gpu.items import STORAGE, DeviceItems
from tesserank.maxsim.gpu.query import Layout, Queries, pack
from tesserank.maxsim.gpu.scores import Candidates
from tesserank.serving.aggregation import LiveChannel
from tesserank.serving.device_jobs import Job
from tesserank.serving.segments import SpaceTokens, UserSegments
from tesserank.serving.selection import Selected
from tesserank_bench.gpu.plan import Shape

_ROWS_AT_ONCE = 1 << 22
SPACE = "text"
EXTRA = 4  # times as many items as candidates lie in the index that they are picked from


@dataclass(frozen=True)
class Material:
    """A shape's arguments: ``tokens`` float32 [Q, d] of unit length, ``weights`` [Q], ``starts`` int64 [G] over all."""

    shape: Shape
    tokens: torch.Tensor
    weights: torch.Tensor
    starts: torch.Tensor
    items: DeviceItems
    queries: Queries
    candidates: Candidates
    rows: torch.Tensor | None
    hierarchy: Hierarchy
    counts: torch.Tensor

    @staticmethod
    def make(shape: Shape, device: torch.device, seed: int) -> Material:
        generator = torch.Generator(device).manual_seed(seed)
        tokens = _unit(shape.users * shape.segments * shape.length, shape.dim, generator)
        weights = torch.full((len(tokens),), 1 / shape.length, dtype=torch.float32, device=device)
        items = _items(shape, shape.items * EXTRA if shape.gathered else shape.items, generator)
        starts = np.arange(shape.segments, dtype=np.int64) * shape.length
        lengths = [shape.segments * shape.length] * shape.users
        layout = Layout.of(lengths, [starts] * shape.users, together=not shape.gathered)
        candidates, rows = Candidates.all(items), None
        if shape.gathered:
            picked = np.random.default_rng(seed).permutation(len(items))[: shape.items]
            candidates = Candidates.of([picked] * shape.users, items)
            rows = torch.from_numpy(picked).to(device)
        units = np.arange(shape.segments * shape.users + 1)
        spans = np.stack([units[:-1], units[1:]], axis=1).reshape(shape.users, shape.segments, 2)
        ones = np.ones(shape.segments, dtype=np.float32)
        return Material(
            shape=shape,
            tokens=tokens,
            weights=weights,
            starts=torch.arange(shape.users * shape.segments, device=device) * shape.length,
            items=items,
            queries=pack(tokens, weights, layout, items, shape.wide),
            candidates=candidates,
            rows=rows,
            hierarchy=Hierarchy.of([[Channel(own, ones, 1.0)] for own in spans], "softmax", 0.05, device),
            counts=torch.full((shape.users,), shape.items, dtype=torch.int64, device=device),
        )

    def jobs(self) -> list[Job]:
        """The users as the server's scorer has them."""
        shape, step = self.shape, self.shape.segments * self.shape.length
        segments, ones = np.arange(shape.segments), np.ones(shape.segments, dtype=np.float32)
        rows = None if self.rows is None else np.sort(self.rows.cpu().numpy())
        channel = LiveChannel(SPACE, slice(0, shape.segments), ones, 1.0, "softmax", 0.05)
        weights = self.weights[:step].cpu().numpy()
        return [
            Job(
                place=user,
                user=UserSegments(
                    labels=("",) * shape.segments,
                    channels=np.zeros(shape.segments, dtype=np.int32),
                    weights=ones,
                    spaces={SPACE: SpaceTokens(segments, own, weights, segments * shape.length, unit_segment=segments)},
                ),
                selected=Selected(rows, None, 0),
                k=shape.top,
                channels=[channel],
            )
            for user, own in enumerate(self.tokens.split(step))
        ]

    def part(self, segment: int) -> Queries:
        """The packed query of one segment alone, for who launches once a segment. Of the first user."""
        own = slice(segment * self.shape.length, (segment + 1) * self.shape.length)
        layout = Layout.of([self.shape.length], [np.zeros(1, dtype=np.int64)])
        return pack(self.tokens[own], self.weights[own], layout, self.items, self.shape.wide)


def _items(shape: Shape, count: int, generator: torch.Generator) -> DeviceItems:
    """Items of equal length, in blocks: codes of a random unit vector, as an index would have them."""
    dtype, peak = STORAGE[shape.storage]
    total = count * shape.tokens
    vectors = torch.empty((total, shape.dim), dtype=dtype, device=generator.device)
    step = 1.0
    for begin in range(0, total, _ROWS_AT_ONCE):
        block = _unit(min(_ROWS_AT_ONCE, total - begin), shape.dim, generator)
        if shape.storage in ("int8", "fp8"):
            step = 0.6 / peak  # of unit vectors in 128 dimensions hardly a component is larger
            block = (block / step).clamp_(-peak, peak)
            block = block.round_() if shape.storage == "int8" else block
        vectors[begin : begin + len(block)] = block.to(dtype)
    steps = torch.full((shape.dim,), step, dtype=torch.float32, device=generator.device)
    offsets = torch.arange(count + 1, dtype=torch.int64, device=generator.device) * shape.tokens
    return DeviceItems(shape.storage, vectors, steps, offsets, shape.dim, shape.tokens)


def _unit(rows: int, dim: int, generator: torch.Generator) -> torch.Tensor:
    vectors = torch.randn((rows, dim), generator=generator, device=generator.device)
    return torch.nn.functional.normalize(vectors, dim=1)
