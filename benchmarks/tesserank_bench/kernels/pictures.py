"""The picture of a result, and nothing but what it says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tesserank_bench import plots
from tesserank_bench.kernels.ceilings import BF16, FP32, INT8, peak
from tesserank_bench.kernels.maxsim import COARSE
from tesserank_bench.kernels.plan import BASE, THREADS, Shape
from tesserank_bench.kernels.verdicts import own_gops

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "maxsim-ceilings.svg"
# Of a bar: what it says, its colour, and whether the machine could do it or MaxSim did.
CEILINGS = {FP32: plots.GREY, BF16: plots.SKY, INT8: plots.BLUE}
OWN = {
    "float16": ("MaxSim, float32", plots.ORANGE),
    "int8": ("MaxSim, int8", plots.VERMILION),
    COARSE: ("MaxSim, int8 coarse", plots.VERMILION),
}
Result = Mapping[str, Any]


def draw(result: Result, folder: Path) -> list[Path]:
    """Draw MaxSim of BASE's shape beside the ceilings, if both were measured; returns the files."""
    if any(own_gops(dict(result), kind, threads) is None for kind in OWN if kind != COARSE for threads in THREADS):
        return []
    path = folder / NAME
    with plots.picture(path, height=3.9) as (_, axes):
        place, ticks = 0.0, {}
        for threads in THREADS:
            axes.text(0.0, place, _title(threads), transform=axes.get_yaxis_transform(), weight="bold", va="center")
            place += 1.0
            for label, value, colour in _bars(result, threads):
                _bar(axes, place, value, colour, peak(result["ceilings"], (FP32,), threads))
                ticks[place] = label
                place += 1.0
            place += 0.4
        axes.set_yticks(list(ticks), list(ticks.values()))
        axes.set_ylim(place - 0.4, -0.7)
        axes.set_xlim(0, axes.get_xlim()[1] * 1.18)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        where = result["conditions"]
        axes.set_xlabel(
            f"billions of operations a second, best call; × against the fp32 product\n{_said(BASE)}; {where['cpu']}"
        )
        axes.set_title("MaxSim against what the machine can multiply at most")
    return [path]


def _bars(result: Result, threads: int) -> list[tuple[str, float, str]]:
    peaks = [(name, peak(result["ceilings"], (name,), threads), colour) for name, colour in CEILINGS.items()]
    bars = [(f"{name}, ceiling", value, colour) for name, value, colour in peaks if value is not None]
    own = [(label, own_gops(dict(result), kind, threads), colour) for kind, (label, colour) in OWN.items()]
    return bars + [(label, value, colour) for label, value, colour in own if value is not None]


def _bar(axes: Axes, place: float, value: float, colour: str, unit: float | None) -> None:
    axes.barh(place, value, 0.78, color=colour)
    times = f"  ({value / unit:.2f}×)" if unit else ""
    axes.text(value, place, f" {value:,.0f}{times}", va="center", fontsize=9)


def _title(threads: int) -> str:
    return "1 core" if threads == 1 else f"{threads} cores"


def _said(shape: Shape) -> str:
    return (
        f"{shape.segments} segments of {shape.tokens} tokens, {shape.items:,} items of {shape.item_tokens} tokens, "
        f"{shape.dim} dimensions"
    )
