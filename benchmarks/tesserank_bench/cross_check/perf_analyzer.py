"""NVIDIA's perf_analyzer: where it is, a closed loop with it, and what it reports.

Its own documentation: github.com/triton-inference-server/perf_analyzer. Times are of its synchronous client, from the
call to the answer, as those of ``tesserank loadtest`` are.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tesserank.errors import ConfigError, ServerError
from tesserank.paths import BUILD
from tesserank.server.environment import find_installation
from tesserank_bench.errors import BenchmarkError
from tesserank_loadtest.histogram import Histogram

FETCHED = BUILD / "perf_analyzer" / "bin" / "perf_analyzer"  # by `make perf-analyzer`
PATIENCE_S = 120.0  # beyond the time that the requests themselves may take
# What it is linked to and Triton's wheel carries, under names of its own.
LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}
# By the names of our figures: its CSV's columns, and what one of theirs is in one of ours (a millisecond is 1,000 µs).
COLUMNS = {
    "throughput_per_s": ("Inferences/Second", 1.0),
    "mean_ms": ("Avg latency", 1e3),
    "p50_ms": ("p50 latency", 1e3),
    "p95_ms": ("p95 latency", 1e3),
    "p99_ms": ("p99 latency", 1e3),
}
PERCENTILES = {"p50_ms": 50.0, "p95_ms": 95.0, "p99_ms": 99.0}

Figures = dict[str, float]


def find_perf_analyzer(named: Path | None) -> Path:
    """The program that is named; else the one that ``make perf-analyzer`` fetched; else the one on PATH.

    Raises ConfigError, with the command that fetches it, where there is none.
    """
    places = [str(named)] if named else [str(FETCHED), "perf_analyzer"]
    found = next(filter(None, map(shutil.which, places)), None)
    if found is None:
        reason = f"--perf-analyzer {named} is not an executable file" if named else f"neither {FETCHED} nor on PATH"
        raise ConfigError(f"no perf_analyzer: {reason}: `make perf-analyzer` fetches it (14 MB)")
    return Path(found)


@dataclass(frozen=True)
class ClosedLoop:
    """The first ``requests`` of an ``--input-data`` file, sent over gRPC by ``users`` threads, each when it has the
    answer to its last; ``timeout_s`` is what the server is told of each, as the client tells it."""

    url: str
    model: str
    data: Path
    users: int
    requests: int
    timeout_s: float

    def arguments(self) -> list[str]:
        """Of the command line."""
        arguments = ["-m", self.model, "-i", "grpc", "-u", self.url, "--input-data", str(self.data), "--sync"]
        arguments += ["--concurrency-range", str(self.users), "--request-count", str(self.requests)]
        return [*arguments, "--request-parameter", f"timeout:{int(self.timeout_s * 1e6)}:int"]


class PerfAnalyzer:
    """The program; links to the libraries that it needs go to ``folder``."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program = program
        self._environment = _environment(folder)

    def version(self) -> str:
        """As the program tells it. Raises BenchmarkError if it does not start."""
        return self._run(["--version"], PATIENCE_S).strip().removeprefix("Perf Analyzer Version ")

    def run(self, loop: ClosedLoop, folder: Path) -> dict[str, Figures]:
        """Run a closed loop; reports go to ``folder``, which is made.

        Returns the figures that it ``reported``, and the same ones ``recounted`` from its times of every request.

        Raises BenchmarkError if it fails, as it does when one request does, or reports something else.
        """
        folder.mkdir()
        report, profile = folder / "report.csv", folder / "profile.json"
        exports = ["-f", str(report), "--verbose-csv", "--profile-export-file", str(profile)]
        said = self._run([*loop.arguments(), *exports], PATIENCE_S + loop.requests * loop.timeout_s)
        if not report.exists() or not profile.exists():
            raise BenchmarkError(f"perf_analyzer ended without a report:\n{said}")
        times = read_profile(profile)
        if len(times) != loop.requests:
            raise BenchmarkError(f"perf_analyzer tells of {len(times):,} of {loop.requests:,} requests:\n{said}")
        return {"reported": read_report(report), "recounted": recount(times)}

    def _run(self, arguments: Sequence[str], limit_s: float) -> str:
        command = [str(self._program), *arguments]
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                env=self._environment, timeout=limit_s,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BenchmarkError(f"{' '.join(command)}: {error}") from error
        if done.returncode:
            said = done.stdout.partition("\nUsage:")[0]  # which it prints whole after whatever it does not understand
            raise BenchmarkError(f"{' '.join(command)} ended with status {done.returncode}:\n{said}")
        return done.stdout


def read_report(path: Path) -> Figures:
    """The figures in the first row of its CSV (``-f``, ``--verbose-csv``). Raises BenchmarkError if one is missing."""
    with path.open(encoding="utf-8", newline="") as stream:
        row: Mapping[str, str] = next(csv.DictReader(stream), {})
    try:
        return {name: float(row[column]) / unit for name, (column, unit) in COLUMNS.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise BenchmarkError(f"{path} has no figure of each of {list(COLUMNS.values())}: {error!r}; {row}") from error


def read_profile(path: Path) -> list[tuple[int, int]]:
    """Of every request of its ``--profile-export-file`` when it was sent and answered, in nanoseconds of Unix time.

    Raises BenchmarkError for another file.
    """
    try:
        # The requests' own texts stand in it as they were sent, with the bytes of their lengths: not all is UTF-8.
        profile: dict[str, Any] = json.loads(path.read_text(encoding="utf-8", errors="replace"), strict=False)
        (experiment,) = profile["experiments"]
        return [(int(each["timestamp"]), int(each["response_timestamps"][-1])) for each in experiment["requests"]]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise BenchmarkError(f"{path} is no profile of one experiment of perf_analyzer: {error!r}") from error


def recount(times: Sequence[tuple[int, int]]) -> Figures:
    """The figures of requests, one at least, by our histogram: from when each was sent and answered (nanoseconds)."""
    latency = Histogram()
    for sent, answered in times:
        latency.record((answered - sent) / 1e9)
    seconds = (max(answered for _, answered in times) - min(sent for sent, _ in times)) / 1e9
    measured = {"mean_ms": latency.mean_ms, **{name: latency.percentile_ms(p) for name, p in PERCENTILES.items()}}
    return {"throughput_per_s": len(times) / seconds, **{name: float(value or 0) for name, value in measured.items()}}


def _environment(folder: Path) -> dict[str, str]:
    """With the libraries that perf_analyzer needs, by links in ``folder`` to those of Triton's wheel, if it is here."""
    links = folder / "libraries"
    links.mkdir()
    for name, pattern in LIBRARIES.items():
        for library in _wheel_libraries(pattern):
            (links / name).symlink_to(library)
    own = os.environ.get("LD_LIBRARY_PATH")
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(filter(None, [own, str(links)]))}


def _wheel_libraries(pattern: str) -> list[Path]:
    try:
        return list(find_installation().libraries.glob(pattern))
    except ServerError:  # no tritonserver here: the one under test runs elsewhere
        return []
