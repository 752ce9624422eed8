"""The pictures of a result, and nothing but what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tesserank_bench import plots
from tesserank_bench.latency.paths import COLD, CROSS_FP32, CROSS_INT8, HOT, ITEMS, ONE_SEGMENT, WARM
from tesserank_bench.latency.single import SERVED
from tesserank_bench.latency.verdicts import find

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    CROSS_FP32: plots.BLACK,
    CROSS_INT8: plots.GREY,
    ONE_SEGMENT: plots.PURPLE,
    COLD: plots.BLUE,
    WARM: plots.GREEN,
    HOT: plots.VERMILION,
    ITEMS: plots.ORANGE,
}
MARKERS = dict(zip(COLOURS, plots.MARKERS, strict=True))
GAP_SIZES = (100, 1_000)
GAP_PATHS = (CROSS_FP32, CROSS_INT8, ONE_SEGMENT, COLD, WARM, HOT)
_TITLES = {
    ONE_SEGMENT: "one long new segment",
    COLD: "cold: 5 new segments",
    WARM: "warm: 1 of 5 new",
    HOT: "hot: all 5 cached",
}
Result = Mapping[str, Any]


def draw(result: Result, folder: Path) -> list[Path]:
    """Draw what a result has measured; returns the files."""
    pictures = {
        "latency-gap.svg": (draw_gap, _single(result, GAP_SIZES)),
        "latency-candidates.svg": (draw_candidates, _single(result)),
        "latency-history.svg": (draw_histories, result.get("histories")),
        "throughput.svg": (draw_throughput, result.get("throughput")),
    }
    drawn = []
    for name, (function, measured) in pictures.items():
        if measured:
            function(result, folder / name)
            drawn.append(folder / name)
    return drawn


def draw_gap(result: Result, path: Path) -> None:
    """p50 of each path at a hundred and a thousand candidates, as bars on a logarithmic axis."""
    groups = [size for size in GAP_SIZES if find(_single(result), candidates=size, path=COLD)]
    rows = [
        (size, entry)
        for size in groups
        for name in GAP_PATHS
        if (entry := find(_single(result), candidates=size, path=name))
    ]
    with plots.picture(path, height=0.75 + 0.3 * len(rows) + 0.35 * len(groups)) as (_, axes):
        place, ticks, labels = 0.0, [], []
        for group in groups:
            axes.text(0.0, place, f"{group:,} candidates", transform=_at_left(axes), weight="bold", va="center")
            place += 1.0
            baseline = find(_single(result), candidates=group, path=CROSS_INT8)
            for entry in (entry for size, entry in rows if size == group):
                axes.barh(place, entry["p50_ms"], 0.78, color=COLOURS[entry["path"]])
                axes.text(entry["p50_ms"] * 1.12, place, _bar_label(entry, baseline), va="center", fontsize=9)
                ticks.append(place)
                labels.append(_title(entry["path"]))
                place += 1.0
            place += 0.4
        axes.set_yticks(ticks, labels)
        axes.set_ylim(place - 0.4, -0.7)
        axes.set_xscale("log")
        slowest = max(entry["p50_ms"] for _, entry in rows)
        axes.set_xlim(0.7, slowest * 8)
        plots.log_ticks(axes.xaxis, plots.tick_ms)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"p50 of one request, log scale; × against the int8 cross-encoder\n{_where(result)}")
        axes.set_title("One request through Triton: the cross-encoder, and late interaction in its place")


def draw_candidates(result: Result, path: Path) -> None:
    """p50 of each path against the number of candidates."""
    items = result["setup"]["items"]
    with plots.picture(path) as (figure, axes):
        for name in COLOURS:
            found = [(_number(entry, items), entry["p50_ms"]) for entry in _single(result) if entry["path"] == name]
            if found:
                _line(axes, sorted(found), _title(name), COLOURS[name], MARKERS[name])
        axes.set_xscale("log")
        axes.set_yscale("log")
        sizes = sorted({_number(entry, items) for entry in _single(result)})
        axes.set_xticks(sizes, [f"{size:,}" + ("\n(all)" if size == items else "") for size in sizes])
        axes.minorticks_off()
        plots.log_ticks(axes.yaxis, plots.tick_ms)
        axes.set_xlabel(f"candidates, log scale\n{_where(result)}")
        axes.set_ylabel("p50 of one request, log scale")
        axes.set_title("Latency against the number of candidates, one caller")
        figure.legend(loc="outside right center", fontsize=9)


def draw_histories(result: Result, path: Path) -> None:
    """p50 and p95 of a request after an event was appended, against the length of the history."""
    cuts = {"item": plots.ORANGE, "content": plots.BLUE}
    titles = {"item": "cut by item\n(vectors from the index)", "content": "cut by content\n(newest segment encoded)"}
    with plots.picture(path) as (figure, axes):
        for (cut, colour), marker in zip(cuts.items(), plots.MARKERS, strict=False):
            entries = sorted((e for e in result["histories"] if e["cut"] == cut), key=lambda e: int(e["events"]))
            _line(axes, [(e["events"], e["p50_ms"]) for e in entries], f"{titles[cut]}, p50", colour, marker)
            tail = [(e["events"], e["p95_ms"]) for e in entries if e["p95_ms"] is not None]
            if tail:
                axes.plot(*zip(*tail, strict=True), linestyle=":", color=colour, linewidth=1.2, label="p95")
        lengths = sorted({entry["events"] for entry in result["histories"]})
        axes.set_xscale("log")
        axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_xlabel(f"events of the history, one of them new; log scale\n{_where(result)}")
        axes.set_ylabel("one request, ms")
        axes.set_title("Latency against the length of the history, 100 candidates, one caller")
        figure.legend(loc="outside right center", fontsize=9)


def draw_throughput(result: Result, path: Path) -> None:
    """Requests a second against the number of callers; the single cross-encoder's for comparison."""
    with plots.picture(path) as (figure, axes):
        kinds = list(dict.fromkeys((entry["path"], entry["candidates"]) for entry in result["throughput"]))
        for name, size in kinds:
            entries = [e for e in result["throughput"] if (e["path"], e["candidates"]) == (name, size)]
            points = sorted((e["callers"], e["per_second"]) for e in entries)
            whole = size == "catalogue"
            label = f"{_title(name)}, {'catalogue' if whole else f'{size:,} candidates'}"
            _line(axes, points, label, COLOURS[name], MARKERS[name], dashed=whole)
        callers = sorted({entry["callers"] for entry in result["throughput"]})
        baseline = find(_single(result), path=CROSS_INT8, candidates=100)
        if baseline:
            rate = 1e3 / baseline["p50_ms"]
            axes.axhline(rate, color=plots.GREY, linewidth=1.2)
            label = f"int8 cross-encoder, 100 candidates, 1 caller: {rate:.2g} a second"
            axes.text(callers[0], rate * 1.15, label, color="#555555", fontsize=9)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(callers, [str(number) for number in callers])
        plots.log_ticks(axes.yaxis, lambda value: f"{value:,g}")
        axes.set_xlabel(f"callers, each waiting for its answer\n{_where(result)}")
        axes.set_ylabel("requests a second, log scale")
        axes.set_title("Throughput against the number of callers")
        figure.legend(loc="outside right center", fontsize=9)


def _line(
    axes: Axes, points: Sequence[tuple[float, float]], label: str, colour: str, marker: str, dashed: bool = False
) -> None:
    axes.plot(*zip(*points, strict=True), label=label, color=colour, marker=marker, linestyle="--" if dashed else "-")


def _at_left(axes: Axes) -> Any:
    """Horizontally the axes' own edge, vertically the data."""
    return axes.get_yaxis_transform()


def _bar_label(entry: Mapping[str, Any], baseline: Mapping[str, Any] | None) -> str:
    label = plots.in_ms(entry["p50_ms"])
    if baseline is None or entry["path"] in (CROSS_FP32, CROSS_INT8):
        return label
    return f"{label}  ({baseline['p50_ms'] / entry['p50_ms']:,.0f}×)"


def _single(result: Result, sizes: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """What was served to one caller, for some numbers of candidates or for all."""
    entries = [entry for entry in result.get("single", []) if entry["where"] == SERVED]
    return [entry for entry in entries if sizes is None or entry["candidates"] in sizes]


def _number(entry: Mapping[str, Any], items: int) -> int:
    return items if entry["candidates"] == "catalogue" else int(entry["candidates"])


def _title(path: str) -> str:
    return _TITLES.get(path, path)


def _where(result: Result) -> str:
    machine, setup = result["conditions"], result["setup"]
    return f"{machine['cores']} cores of {machine['cpu']}; {setup['dataset']}, {setup['items']:,} items"
