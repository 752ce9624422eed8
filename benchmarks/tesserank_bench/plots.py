"""What all pictures share: one look, colours that the colour-blind tell apart, equal bytes for equal numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

from tesserank.paths import CHECKOUT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

PICTURES = CHECKOUT / "docs" / "img"
# Okabe and Ito's colours for the colour-blind, less the yellow, which is pale on white.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
GREY = "#8c8c8c"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # colour is never the only difference

_STYLE: Any = {
    # White behind everything: a page in dark mode shows the picture as it is.
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelcolor": "#333333",
    "axes.edgecolor": "#999999",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.7,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "svg.hashsalt": "tesserank",
    "svg.fonttype": "path",
}


@contextmanager
def picture(path: Path, width: float = 8.0, height: float = 4.0) -> Iterator[tuple[Figure, Axes]]:
    """A figure of ``width`` × ``height`` inches to draw on, saved as SVG when the block ends.

    Equal drawings give equal bytes: no date, no random ids.
    """
    with matplotlib.rc_context(_STYLE):
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, figure.add_subplot()
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None})


def in_ms(value: float) -> str:
    """A label for milliseconds, in the unit that people would say it in."""
    if value >= 10_000:
        return f"{value / 1e3:,.0f} s"
    if value >= 1_000:
        return f"{value / 1e3:,.1f} s"
    return f"{value:,.0f} ms" if value >= 100 else f"{value:,.1f} ms"


def log_ticks(axis: Axis, label: Callable[[float], str]) -> None:
    """A label at every power of ten, said as people would say it, and no marks between them."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    axis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))
    axis.set_minor_locator(NullLocator())


def tick_ms(value: float) -> str:
    """A power of ten of milliseconds."""
    return f"{value / 1e3:,g} s" if value >= 1_000 else f"{value:g} ms"
