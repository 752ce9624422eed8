"""Running the same shape again and again: captured once as a CUDA graph, then replayed on new numbers."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

Forward = Callable[[torch.Tensor], torch.Tensor]  # numbers int64 [n] on the device -> the output
Fill = Callable[[NDArray[np.int64]], None]  # writes all numbers


@dataclass(frozen=True)
class Replay:
    """``run`` computes ``output`` anew from what lies where the input lay when it was captured."""

    run: Callable[[], object]
    output: torch.Tensor


Capture = Callable[[Callable[[], torch.Tensor]], Replay]


class CudaGraphs:
    """Captures on the current device. Graphs share memory: each run overwrites the outputs of all."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, compute: Callable[[], torch.Tensor]) -> Replay:
        """Run twice before, on a stream of its own: libraries set themselves up then."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                compute()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            output = compute()
        return Replay(graph.replay, output)


def stand_in(compute: Callable[[], torch.Tensor]) -> Replay:
    """What a graph does, where there are none: the same output's memory is written anew."""
    output = compute().clone()
    return Replay(lambda: output.copy_(compute()), output)


@dataclass(frozen=True)
class _Captured:
    numbers: torch.Tensor  # on the device
    staging: torch.Tensor  # in host memory, pinned for a GPU
    replay: Replay


class Graphs:
    """Graphs by key, each captured when it is first needed. Not to be used by two threads at once."""

    def __init__(self, device: torch.device, capture: Capture) -> None:
        self._device = device
        self._capture = capture
        self._captured: dict[Hashable, _Captured] = {}

    def __len__(self) -> int:
        return len(self._captured)

    def run(self, key: Hashable, count: int, fill: Fill, forward: Forward) -> torch.Tensor:
        """``forward`` of the ``count`` numbers that ``fill`` writes; the output is overwritten by the next run of any.

        ``forward`` must be the same for the same key.
        """
        captured = self._captured.get(key)
        if captured is None:
            captured = self._captured[key] = self._make(count, fill, forward)
        fill(captured.staging.numpy())
        captured.numbers.copy_(captured.staging)  # waits for the copy, so that the next fill cannot overtake it
        captured.replay.run()
        return captured.replay.output

    def once(self, count: int, fill: Fill, forward: Forward) -> torch.Tensor:
        """The same without a graph: for shapes so large that launching is not what takes the time."""
        staging = self._staging(count)
        fill(staging.numpy())
        return forward(staging.to(self._device))

    def _make(self, count: int, fill: Fill, forward: Forward) -> _Captured:
        staging = self._staging(count)
        fill(staging.numpy())
        numbers = staging.to(self._device)
        return _Captured(numbers, staging, self._capture(lambda: forward(numbers)))

    def _staging(self, count: int) -> torch.Tensor:
        return torch.empty(count, dtype=torch.int64, pin_memory=self._device.type == "cuda")
