"""What is timed: our kernel, all that makes an answer of it, a launch a segment, plain torch, other libraries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec

import torch

from tesserank.maxsim.gpu import reference
from tesserank.maxsim.gpu.aggregate import aggregate, top_k
from tesserank.maxsim.gpu.scores import unit_scores
from tesserank.maxsim.gpu.tile import Tile
from tesserank.serving.device_jobs import ResidentIndex
from tesserank.serving.device_launch import Launch
from tesserank.serving.device_space import COARSE
from tesserank_bench.gpu.material import SPACE, Material

Call = Callable[[], object]
KERNEL, ANSWER, LOOP, TORCH = "kernel", "kernel, aggregation, top-k", "a launch a segment", "torch"
SERVED, TWO_PASSES = "served", "served, in two passes"
FLASH, LATE = "flash-maxsim", "late-interaction-kernels"
PEERS: Mapping[str, str] = {FLASH: "flash_maxsim", LATE: "late_interaction_kernels"}
_TORCH_LIMIT = 8 << 30  # bytes of similarities that torch would write to memory


def kernel(material: Material, tile: Tile | None = None) -> Call:
    """Unit scores alone, into memory that is there."""
    out = _scores(material)
    return lambda: unit_scores(material.queries, material.items, material.candidates, tile, out)


def answer(material: Material) -> Call:
    """Unit scores, aggregation and the best ``top``."""
    units = _scores(material)
    scores = torch.empty((material.shape.users, material.candidates.most), device=units.device)

    def run() -> object:
        unit_scores(material.queries, material.items, material.candidates, None, units)
        aggregate(units, material.hierarchy, material.counts, scores)
        return top_k(scores, material.shape.top)

    return run


def served(material: Material) -> Call | None:
    """The answer as the server makes it of encoded segments, to host memory; None where it has no such queries."""
    return None if not material.shape.wide else _launched(material, in_two_passes=False)


def in_two_passes(material: Material) -> Call | None:
    """The same in two passes, whether they prove anything or not; None where there is nothing to gain."""
    shape = material.shape
    return _launched(material, True) if shape.wide and shape.storage == COARSE and not shape.gathered else None


def proven_share(call: Call) -> float:
    """Of how many users a call in two passes proves the answer: the server searches for the others again."""
    found = call()
    assert isinstance(found, list)
    return sum(own is not None for own in found) / len(found)


def _launched(material: Material, in_two_passes: bool) -> Call:
    resident = {SPACE: material.items}
    index = ResidentIndex(material.tokens.device, resident, resident, len(material.items))
    jobs = material.jobs()

    def run() -> object:
        launch = Launch(jobs, index, in_two_passes)
        return launch.found_in_two_passes() if in_two_passes else launch.found()

    return run


def loop(material: Material) -> Call:
    """The same kernel, launched for each segment of the only user."""
    parts = [material.part(segment) for segment in range(material.shape.segments)]
    out = _scores(material)

    def run() -> object:
        for segment, queries in enumerate(parts):
            unit_scores(queries, material.items, material.candidates, None, out[segment : segment + 1])
        return out

    return run


def in_torch(material: Material) -> Call | None:
    """``reference`` in float16; None where its similarities would not fit."""
    shape = material.shape
    wanted = 2 * shape.items * shape.tokens * len(material.tokens)
    if wanted > _TORCH_LIMIT or shape.storage != "float16":
        return None
    arguments = material.tokens, material.weights, material.starts, material.items, material.rows
    return lambda: reference.unit_scores(*arguments, dtype=torch.float16)


def peer(name: str, material: Material) -> Call | str:
    """Another library's call for the same scores, or why there is none: it is not installed, or has no such items.

    Both take padded documents [N, M, d]; gathering candidates is left out of their time.
    """
    if find_spec(PEERS[name]) is None:
        return f"not measured: {name} is not installed"
    shape = material.shape
    if shape.storage != "float16" or shape.users != 1:
        return "not measured: one user and float16 items are compared"
    queries = material.tokens.to(torch.float16).view(shape.segments, shape.length, shape.dim)
    documents = material.items.vectors.view(-1, shape.tokens, shape.dim)
    documents = documents if material.rows is None else documents[material.rows]
    if name == FLASH:
        from flash_maxsim import flash_maxsim_batched

        return lambda: flash_maxsim_batched(queries, documents)
    from late_interaction_kernels import maxsim

    def run() -> object:
        with torch.no_grad():
            return maxsim(queries, documents)

    return run


def _scores(material: Material) -> torch.Tensor:
    units = material.queries.layout.units
    return torch.empty((units, material.candidates.most), dtype=torch.float32, device=material.tokens.device)
