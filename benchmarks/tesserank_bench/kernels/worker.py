"""A process that holds contestants and times them: python -m tesserank_bench.kernels.worker, driven by ``workers``.

Reads a JSON object a line and answers with one: open a contestant, time some calls, save its answer, close it.
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from tesserank_bench.kernels.contestants.base import Contestant

LONG_S = 0.25
PATHS = ("task", "scratch", "graph", "inputs", "model")  # options that are paths


def main() -> None:
    """Answer requests until the input ends."""
    requests, answers = _claim_pipes()
    held: dict[str, Contestant] = {}
    for line in requests:
        request = json.loads(line)
        try:
            answer = _DO[request.pop("do")](held, **request)
        except ModuleNotFoundError as error:
            answer = {"missing": error.name}
        except Exception as error:  # whatever it is, it is this contestant's: the benchmark decides what it means
            answer = {"failed": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _claim_pipes() -> tuple[TextIO, TextIO]:
    """Standard input and output for the protocol alone: what libraries print goes to standard error."""
    requests, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdin.close()
    return requests, answers


def _open(held: dict[str, Contestant], name: str, of: str, options: dict[str, Any]) -> dict[str, Any]:
    module, _, attribute = of.partition(":")
    options = {key: Path(value) if key in PATHS else value for key, value in options.items()}
    started = time.perf_counter()
    contestant: Contestant = getattr(import_module(module), attribute)(**options)
    held[name] = contestant
    return {"prepare_s": time.perf_counter() - started}


def _time(held: dict[str, Contestant], name: str, turn: int, sample_s: float) -> dict[str, Any]:
    """Seconds of a call, the mean of as many as take about ``sample_s``, after one that does not count.

    The first call wakes threads and brings data into caches: what others left there is not what is measured. Where it
    takes longer than LONG_S that is no matter, and it is the sample. ``cpu_s``: processor seconds of all threads; fewer
    than ``seconds`` of one thread mean that it waited for a core.
    """
    contestant = held[name]
    gc.collect()
    gc.disable()
    try:
        with contestant.threads():
            seconds, cpu_s = _call(contestant, turn, 1)
            if seconds < LONG_S:
                seconds, cpu_s = _call(contestant, turn + 1, max(1, math.ceil(sample_s / max(seconds, 1e-7))))
    finally:
        gc.enable()
    return {"seconds": seconds, "cpu_s": cpu_s}


def _call(contestant: Contestant, turn: int, calls: int) -> tuple[float, float]:
    """Seconds and processor seconds of a call, the mean of some in a row."""
    cpu, started = time.process_time(), time.perf_counter()
    for call in range(calls):
        contestant.run(turn + call)
    return (time.perf_counter() - started) / calls, (time.process_time() - cpu) / calls


def _answer(held: dict[str, Contestant], name: str, into: str) -> dict[str, Any]:
    with held[name].threads():
        np.savez(into, **held[name].answer())
    return {}


def _close(held: dict[str, Contestant], name: str) -> dict[str, Any]:
    del held[name]
    gc.collect()
    return {}


_DO: dict[str, Callable[..., dict[str, Any]]] = {"open": _open, "time": _time, "answer": _answer, "close": _close}

if __name__ == "__main__":
    main()
