"""What the server says of itself during a run: its metrics page and its processes, read once a second."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import psutil

from tesserank.server.metrics_page import parse_metrics

PERIOD_S = 1.0
TIMEOUT_S = 2.0
SETTLE_S = 0.6  # the models bring their metrics up to date every quarter of a second

# Counters that are kept, by name on the page: what they are called here, and the label that tells their series apart.
_COUNTERS: dict[str, tuple[str, str | None]] = {
    "tesserank_stage_seconds_total": ("stage_seconds", "stage"),
    "tesserank_stage_runs_total": ("stage_runs", "stage"),
    "tesserank_cache_hits_total": ("cache_hits", None),
    "tesserank_cache_misses_total": ("cache_misses", None),
    "tesserank_encoder_batches_total": ("own_batches", "model"),
    "tesserank_encoder_rows_total": ("own_rows", "model"),
    "tesserank_encoder_tokens_total": ("tokens", "tokens"),
    "nv_inference_request_success": ("requests", "model"),
    "nv_inference_count": ("inferences", "model"),
    "nv_inference_exec_count": ("executions", "model"),
    "nv_inference_queue_duration_us": ("queue_us", "model"),
    "nv_inference_compute_input_duration_us": ("compute_us", "model"),
    "nv_inference_compute_infer_duration_us": ("compute_us", "model"),
    "nv_inference_compute_output_duration_us": ("compute_us", "model"),
}


@dataclass(frozen=True)
class Reading:
    """At Unix seconds ``at``: counters by name and label, as ``stage_seconds/encode``; of all the server's processes
    together CPU seconds so far and resident MiB. None where it could not be read."""

    at: float
    counters: dict[str, float] | None
    cpu_s: float | None
    rss_mib: float | None


class Monitor:
    """Reads the server from the beginning to the end of a context, and writes each reading to a file.

    Args:
        path: A JSON object a line.
        metrics_url: The metrics page; None reads none.
        pid: The server's first process; None measures none.
    """

    def __init__(self, path: Path, metrics_url: str | None, pid: int | None) -> None:
        self._path = path
        self._metrics_url = metrics_url
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)
        self._spent: dict[int, float] = {}

    def __enter__(self) -> Monitor:
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if self._metrics_url is not None:
            time.sleep(SETTLE_S)
        self._write()

    def _run(self) -> None:
        while not self._ended.wait(PERIOD_S):
            self._write()

    def _write(self) -> None:
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(self._read())) + "\n")

    def _read(self) -> Reading:
        usage = self._usage()
        return Reading(time.time(), read_counters(self._metrics_url), *usage)

    def _usage(self) -> tuple[float | None, float | None]:
        if self._pid is None:
            return None, None
        rss, found = 0, False
        for process in _family(self._pid):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                times = process.cpu_times()
                # the time of a process that has ended meanwhile is not lost
                self._spent[process.pid] = times.user + times.system
                rss += process.memory_info().rss
                found = True
        return (sum(self._spent.values()), rss / 2**20) if found else (None, None)


def read_counters(metrics_url: str | None) -> dict[str, float] | None:
    """The counters of a metrics page that is there; None of one that is not."""
    if metrics_url is None:
        return None
    try:
        with urllib.request.urlopen(metrics_url, timeout=TIMEOUT_S) as page:
            text = page.read().decode()
    except (OSError, ValueError):
        return None
    counters: dict[str, float] = defaultdict(float)
    for (name, labels), value in parse_metrics(text).items():
        if name in _COUNTERS:
            own, label = _COUNTERS[name]
            counters[f"{own}/{dict(labels).get(label, '')}" if label else own] += value
    return dict(counters)


def listener(port: int) -> int | None:
    """The process that listens on a TCP port of this machine; None when it is not to be seen."""
    try:
        found = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return None
    pids = [each.pid for each in found if each.status == psutil.CONN_LISTEN and each.laddr.port == port and each.pid]
    return int(pids[0]) if pids else None


def read_readings(path: Path) -> list[Reading]:
    """All complete readings of a monitor's file; none where there is no file."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [Reading(**json.loads(line)) for line in lines[:-1]]  # the last is empty, or not yet whole


def _family(pid: int) -> Iterator[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        yield first
        yield from first.children(recursive=True)
