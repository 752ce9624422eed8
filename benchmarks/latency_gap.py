"""The latency gap: the demo's measurement, kept: cold, warm and hot requests against the cross-encoder, one run.

python -m benchmarks.latency_gap          # writes benchmarks/results/latency-gap-cpu.json and docs/img/latency-gap.svg
python -m benchmarks.latency_gap --plot   # draws the committed result again
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
from rich.console import Console

from benchmarks.conditions import RESULTS, conditions, save
from examples.demo import run_scenario
from examples.report import Timing, print_latency
from examples.sample_data import SCENARIOS

NAME = "latency-gap-cpu"
PICTURE = Path("docs/img/latency-gap.svg")
CANDIDATES = 100
KINDS = ("cross_encoder", "cold", "warm", "hot")
COLOURS = {"cross_encoder": "#8c8c8c", "cold": "#4c78a8", "warm": "#59a14f", "hot": "#f28e2b"}


def main() -> None:
    """Measure and draw, or only draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plot", action="store_true", help="draw the committed result, measure nothing")
    if not parser.parse_args().plot:
        _measure()
    _draw(json.loads((RESULTS / f"{NAME}.json").read_text(encoding="utf-8")))


def _measure() -> None:
    console = Console()
    before = conditions(seed=0)
    timings = [run_scenario(scenario, console, candidates=CANDIDATES) for scenario in SCENARIOS]
    print_latency(console, timings)
    result = {
        "conditions": before | {"load_after": os.getloadavg()[0]},
        "what": "client-side seconds over gRPC on loopback, one caller, whole pipeline in one Triton server",
        "scenarios": [vars(timing) | {"p50_ms": _medians(timing)} for timing in timings],
    }
    console.print(f"written: {save(NAME, result)}")


def _medians(timing: Timing) -> dict[str, float]:
    return {kind: round(timing.p50_ms(kind), 3) for kind in KINDS}


def _draw(result: dict[str, Any]) -> None:
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = NAME  # the same picture for the same numbers
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3.6), layout="constrained")
    height = 0.2
    for offset, kind in enumerate(KINDS):
        values = [median(scenario[kind]) * 1e3 for scenario in result["scenarios"]]
        places = [place + offset * height for place in range(len(values))]
        label = kind.replace("_", "-") + (" (being replaced)" if kind == "cross_encoder" else " recommend")
        bars = axes.barh(places, values, height, label=label, color=COLOURS[kind])
        axes.bar_label(bars, [f"{value:,.1f} ms" if value < 100 else f"{value:,.0f} ms" for value in values], padding=3)
    axes.set_yticks([place + 1.5 * height for place in range(len(result["scenarios"]))])
    axes.set_yticklabels([scenario["scenario"] for scenario in result["scenarios"]])
    axes.set_xscale("log")
    axes.set_xlim(1, 50_000)
    axes.invert_yaxis()
    axes.set_xlabel(f"p50 of one request, milliseconds (log scale); {result['scenarios'][0]['candidates']} candidates")
    figure.legend(loc="outside lower center", ncols=len(KINDS), fontsize="small")
    where = result["conditions"]
    axes.set_title(f"One request through Triton on {where['cores']} cores of {where['cpu']}", fontsize="medium")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, metadata={"Date": None})
    print(f"drawn: {PICTURE}")


if __name__ == "__main__":
    main()
