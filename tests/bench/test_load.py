"""Callers at once: what counts of what they got, and that failures are heard of."""

from __future__ import annotations

import socket
import time

import pytest

from tesserank_bench.errors import BenchmarkError
from tesserank_bench.latency.load import LoadGenerator, _merge
from tesserank_bench.latency.throughput import summarise_loads
from tesserank_client import Request


def test_a_load_lasts_from_the_common_start_to_the_last_answer() -> None:
    quick = [(10.0, 10.5, 1, 0), (10.5, 11.0, 1, 0), (11.0, 12.0, 1, 0)]
    slow = [(10.0, 11.5, 0, 5), (11.5, 14.0, 0, 5)]
    load = _merge(10.0, [([quick], [], 0.5, 2.0), ([slow, []], ["refused"], 1.0, 4.0)])
    assert load.callers == 3
    assert load.window_s == 4.0
    assert load.tail_s == 4.0  # the third caller was never answered
    assert load.failures == ("refused",)
    assert load.seconds == (0.5, 0.5, 1.0, 1.5, 2.5)
    assert load.per_second == 5 / 4
    assert load.cached_share == 3 / 13
    assert load.busiest_process == 0.25
    assert load.cores_used == 0.5


def test_equal_loads_are_summarised_by_their_median() -> None:
    loads = [_merge(0.0, [([[(0.0, second, 0, 0)]], [], 0.1, 1.0)]) for second in (1.0, 0.5, 0.25)]
    summary = summarise_loads(loads)
    assert summary["per_second"] == 2.0
    assert summary["per_second_each"] == [1.0, 2.0, 4.0]
    assert summary["cached_share"] is None
    assert summary["failed"] == 0
    assert summary["samples_ms"] == [1_000.0, 500.0, 250.0]


def test_a_load_of_which_nothing_is_answered_is_an_error_and_the_processes_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        nobody = f"127.0.0.1:{held.getsockname()[1]}"
    with (
        LoadGenerator(processes=2) as generator,
        pytest.raises(BenchmarkError, match="none of 4 requests was answered: ConnectError"),
    ):
        generator.run(nobody, 3, [Request(texts="a query")] * 4)
    deadline = time.monotonic() + 5.0
    while any(process.is_alive() for process in generator._processes):
        assert time.monotonic() < deadline
        time.sleep(0.05)
