"""A result as tables on the terminal."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from tesserank_bench.kernels.ceilings import BF16, FP32, INT8, copy_rate, peak
from tesserank_bench.kernels.plan import THREADS
from tesserank_bench.plots import in_ms

Result = dict[str, Any]


def show(console: Console, result: Result) -> None:
    """Print every table that the result has numbers for."""
    tables: tuple[tuple[str, Callable[[Result], Table]], ...] = (
        ("ceilings", _ceilings),
        ("maxsim", _maxsim),
        ("contest", _contest),
        ("encoder", _encoder),
        ("targets", _targets),
    )
    for key, table in tables:
        if result.get(key):
            console.print(table(result))


def _ceilings(result: Result) -> Table:
    table = Table("ceiling", *(f"{_threads(threads)}" for threads in THREADS), title="the machine, best call")
    for name in (FP32, BF16, INT8):
        peaks = [peak(result["ceilings"], (name,), threads) for threads in THREADS]
        table.add_row(name, *("" if value is None else f"{value:,.0f} GOP/s" for value in peaks))
    rates = [copy_rate(result["ceilings"], threads) for threads in THREADS]
    table.add_row("memory copy", *("" if value is None else f"{value:,.1f} GB/s" for value in rates))
    return table


def _maxsim(result: Result) -> Table:
    columns = (*"KLNMd", "vectors", "", "GOP/s", "of fp32\npeak", "of int8\npeak", "kernel\nerror", "top-10")
    table = Table(*columns, title="MaxSim, best call; agreement with float64 before quantisation")
    for entry in result["maxsim"]:
        rows = f"{entry['candidates']:,} picked\n" if entry["candidates"] else ""
        shares = [_share(entry, peak(result.get("ceilings", []), (name,), entry["threads"])) for name in (FP32, INT8)]
        sizes = [f"{size:,}" for size in entry["shape"].values()]
        table.add_row(
            *sizes, entry["vectors"], rows + _threads(entry["threads"]), f"{entry['gops']:,.0f}",
            *shares, f"{entry['kernel_error']:.1e}", f"{entry['top10_agreement']:.3f}",
        )  # fmt: skip
    return table


def _contest(result: Result) -> Table:
    table = Table("ranked by", "items", "p50", "top-10 found", "max error", "prepared in")
    table.title = "the ten best items of each of a user's segments"
    for entry in result["contest"]:
        if entry["status"] != "measured":
            table.add_row(entry["peer"], f"{entry['items']:,}", entry["status"])
            continue
        error = f"{entry['max_error']:.1e}" if "max_error" in entry else ""
        p50 = in_ms(entry["p50_ms"]) if "p50_ms" in entry else ""
        table.add_row(
            entry["peer"], f"{entry['items']:,}", p50, f"{entry['top10_agreement']:.3f}", error,
            f"{entry['prepare_s']:.1f} s",
        )  # fmt: skip
    return table


def _encoder(result: Result) -> Table:
    table = Table("texts", "encoder", "tokens/s", "CPU seconds", "callers'", "notes", title="the encoder, real tokens")
    for entry in result["encoder"]:
        rate = f"{entry['tokens_per_s']:,.0f}" if "tokens_per_s" in entry else ""
        cpu = [
            f"{median(entry[name]):.2f}" if entry.get(name) else "" for name in ("cpu_seconds", "caller_cpu_seconds")
        ]
        table.add_row(entry["texts"], entry["contestant"], rate, *cpu, _encoder_note(entry))
    return table


def _encoder_note(entry: Result) -> str:
    if entry["status"] != "measured":
        return str(entry["status"])
    if "batch" in entry:
        return f"batch {entry['batch']}, {'' if entry['spinning'] else 'not '}spinning"
    if "caller_cores" in entry:
        return (
            f"its callers took {entry['caller_cores']:.2f} cores; within {entry['max_difference_from_raw']:.0e} of raw"
        )
    return ""


def _targets(result: Result) -> Table:
    table = Table("target", "wanted", "measured", "", title="targets")
    for verdict in result["targets"]:
        value = "" if verdict["value"] is None else f"{verdict['value']:,g} {verdict['unit']}".rstrip()
        table.add_row(verdict["name"], verdict["target"], value, verdict["verdict"])
    return table


def _share(entry: Result, most: float | None) -> str:
    return f"{entry['gops'] / most:.2f}" if most else ""


def _threads(threads: int) -> str:
    return f"{threads} thread" + ("s" if threads > 1 else "")
