"""Seconds of a call on the GPU. Benchmarks take a ``Timer``, so that their tests need none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

WARM_UP_MS, SAMPLE_MS = 50, 300


class Timer(Protocol):
    def __call__(self, call: Callable[[], object]) -> float:
        """Median seconds of ``call``."""


def on_the_gpu(call: Callable[[], object]) -> float:
    """By CUDA events, its cache written over before each call, as memory is when other work runs in between."""
    from triton.testing import do_bench

    milliseconds: float = do_bench(call, warmup=WARM_UP_MS, rep=SAMPLE_MS, return_mode="median")
    return milliseconds / 1e3


def in_a_graph(call: Callable[[], object]) -> float:
    """The same replayed from a CUDA graph: no launch is waited for, and what fits the cache stays there."""
    from triton.testing import do_bench_cudagraph

    milliseconds: float = do_bench_cudagraph(call, rep=SAMPLE_MS, return_mode="median")
    return milliseconds / 1e3
