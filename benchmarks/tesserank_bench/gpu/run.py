"""One shape after the other: checked against float64, then timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from tesserank.maxsim.gpu import reference
from tesserank.maxsim.gpu.bounds import error_bound
from tesserank.maxsim.gpu.items import DeviceItems
from tesserank.maxsim.gpu.scores import unit_scores
from tesserank.maxsim.gpu.tile import HOPPER
from tesserank_bench.errors import BenchmarkError
from tesserank_bench.gpu import ceilings, contestants
from tesserank_bench.gpu.material import Material
from tesserank_bench.gpu.plan import CHECKED_ITEMS, Shape
from tesserank_bench.gpu.timing import Timer

Say = Callable[[str], None]


@dataclass(frozen=True)
class Bench:
    """Where and how shapes are measured. ``graph_timer`` replays CUDA graphs; ``tune`` tries other tiles too."""

    device: torch.device
    timer: Timer
    graph_timer: Timer
    seed: int
    tune: bool = False

    def shapes(self, shapes: Sequence[Shape], peaks: Mapping[str, float | str], say: Say) -> list[dict[str, Any]]:
        """A result for each. What does not fit the GPU's memory says so instead of figures."""
        found = []
        for shape in shapes:
            say(f"{shape.name} ...")
            try:
                result = self._shape(shape)
            except torch.OutOfMemoryError as error:
                result = {"not_measured": f"not measured: {str(error).splitlines()[0]}"}
            found.append(asdict(shape) | {"floor_seconds": ceilings.floor_seconds(shape, peaks)} | result)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        return found

    def _shape(self, shape: Shape) -> dict[str, Any]:
        material = Material.make(shape, self.device, self.seed)
        error = largest_error(material, self.seed)
        two_passes = contestants.in_two_passes(material)
        calls: dict[str, contestants.Call | str | None] = {
            contestants.KERNEL: contestants.kernel(material),
            contestants.ANSWER: contestants.answer(material),
            contestants.SERVED: contestants.served(material),
            contestants.TWO_PASSES: two_passes,
            contestants.TORCH: contestants.in_torch(material),
        }
        if shape.users == 1:
            calls[contestants.LOOP] = contestants.loop(material)
        if shape.over_peers is not None:
            calls |= {name: contestants.peer(name, material) for name in contestants.PEERS}
        seconds = {name: _timed(self.timer, call) for name, call in calls.items() if call is not None}
        answer = contestants.answer(material)
        result = {"seconds": seconds, "graph_seconds": _timed(self.graph_timer, answer), "error_of_bound": error}
        if two_passes is not None:
            result["proven_share"] = contestants.proven_share(two_passes)
        return result | ({"tiles": self._tiles(material)} if self.tune else {})

    def _tiles(self, material: Material) -> list[dict[str, Any]]:
        """The kernel's seconds with every tile of HOPPER that is not absurd for these items."""
        slots = material.items.longest
        sensible = [tile for tile in HOPPER if tile.slots <= 2 * slots]
        timed = [
            asdict(tile) | {"seconds": _timed(self.timer, contestants.kernel(material, tile))} for tile in sensible
        ]
        return sorted(timed, key=lambda entry: (isinstance(entry["seconds"], str), entry["seconds"]))


def largest_error(material: Material, seed: int) -> float:
    """The largest error of some items' unit scores, as a share of what it may be. Raises BenchmarkError above 1."""
    shape = material.shape
    picked = np.random.default_rng(seed).permutation(shape.items)[:CHECKED_ITEMS]
    columns = torch.from_numpy(picked).to(material.tokens.device)
    items = _taken(material.items, columns if material.rows is None else material.rows[columns], shape)
    found = unit_scores(material.queries, material.items, material.candidates)[:, columns]
    exact = reference.unit_scores(material.tokens, material.weights, material.starts, items).T
    tokens, weights, starts = (tensor.cpu().numpy() for tensor in (material.tokens, material.weights, material.starts))
    bound = error_bound(tokens, weights, starts, items, shape.wide)
    share = float(((found.double() - exact).abs().amax(dim=1).cpu().numpy() / bound).max())
    if not share <= 1:  # NaN is not
        raise BenchmarkError(f"{shape.name}: unit scores are off by {share:.3g} of what they may be: not worth timing")
    return share


def _taken(items: DeviceItems, rows: torch.Tensor, shape: Shape) -> DeviceItems:
    vectors = items.vectors.view(-1, shape.tokens, shape.dim)[rows].view(-1, shape.dim)
    offsets = torch.arange(len(rows) + 1, device=rows.device) * shape.tokens
    return DeviceItems(items.storage, vectors, items.steps, offsets, items.dim, items.longest)


def _timed(timer: Timer, call: contestants.Call | str) -> float | str:
    """Seconds, or why there are none: a tile or a library may ask for more of a GPU than it has."""
    if isinstance(call, str):
        return call
    try:
        return timer(call)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # of triton, torch or another library: all that is known is that it did not run
        return f"not measured: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
