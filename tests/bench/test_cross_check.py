"""The load test beside perf_analyzer: what that is given, what it reports, and what is said of the two."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesserank.errors import ConfigError
from tesserank_bench.cross_check import perf_analyzer
from tesserank_bench.cross_check.comparison import OURS, THEIRS, between_ms, compare, explain
from tesserank_bench.cross_check.input_data import encode, step, write_input_data
from tesserank_bench.cross_check.perf_analyzer import (
    ClosedLoop,
    PerfAnalyzer,
    find_perf_analyzer,
    read_profile,
    read_report,
    recount,
)
from tesserank_bench.errors import BenchmarkError
from tesserank_client import Request
from tesserank_client._kserve import encode_call, encode_strings
from tesserank_client._request import check
from tesserank_client._tensors import NUMPY_DTYPES, encode_recommend
from tesserank_loadtest.plan import Model, WorkloadOptions
from tesserank_loadtest.scenario import load_scenario
from tesserank_loadtest.workload import Workload

REPORTED = Path(__file__).with_name("perf_analyzer")  # by perf_analyzer 2.51.0: 40 requests, 2 at a time
LOOP = ClosedLoop("127.0.0.1:1", "recommend", Path("input.json"), 2, 40, 5.0)


def sent_by_perf_analyzer(content: list[object], shape: list[int], datatype: str) -> tuple[list[int], bytes]:
    """The batch of one that it makes of an input: its shape and bytes."""
    if datatype == "BYTES":
        array = np.array([str(value).encode() for value in content], dtype=np.object_)
        return [1, *shape], encode_strings(array)
    return [1, *shape], np.array(content, dtype=NUMPY_DTYPES[datatype]).tobytes()


@pytest.mark.parametrize("model", ["recommend", "cross_encoder"])
@pytest.mark.parametrize("scenario", ["ecommerce", "social", "video"])
@pytest.mark.parametrize("queries", [(), ("crème brûlée", '漢字 \u2028 "quoted"', "")], ids=["made up", "given"])
def test_the_steps_are_the_requests_of_the_client(
    tmp_path: Path, model: Model, scenario: str, queries: tuple[str, ...]
) -> None:
    options = WorkloadOptions(tmp_path, replace(load_scenario(scenario), candidates=12, top_k=10), seed=3)
    workload = Workload(options, [f"item-{number}" for number in range(50)], queries)
    prepared = [workload.prepare(turn, model) for turn in workload.stretch(60)]
    write_input_data(prepared, tmp_path / "input.json")
    steps = json.loads((tmp_path / "input.json").read_text(encoding="utf-8"))["data"]
    assert len(steps) == len(prepared)
    for request, tensors in zip(prepared, steps, strict=True):
        message = encode_call(encode(request), timeout=5.0)
        by_client = {
            tensor.name: (list(tensor.shape), content)
            for tensor, content in zip(message.inputs, message.raw_input_contents, strict=True)
        }
        datatypes = {tensor.name: tensor.datatype for tensor in message.inputs}
        assert by_client == {
            name: sent_by_perf_analyzer(each["content"], each["shape"], datatypes[name])
            for name, each in tensors.items()
        }


def test_several_users_are_no_step() -> None:
    two = encode_recommend([check(Request(["a"])), check(Request(["b"]))])
    with pytest.raises(BenchmarkError, match="HISTORY_ITEM_IDS has 2 rows"):
        step(two)


def test_its_report_is_read_in_our_units() -> None:
    assert read_report(REPORTED / "report.csv") == {
        "throughput_per_s": 19.9923,
        "mean_ms": 52.559,
        "p50_ms": 53.787,
        "p95_ms": 78.833,
        "p99_ms": 96.894,
    }


def test_its_own_times_give_what_it_reports_but_for_the_throughput() -> None:
    times = read_profile(REPORTED / "profile.json")
    assert len(times) == 40
    reported, recounted = read_report(REPORTED / "report.csv"), recount(times)
    for name in ("mean_ms", "p50_ms", "p95_ms", "p99_ms"):
        assert recounted[name] == pytest.approx(reported[name], rel=2e-3), name
    # it waits for whole seconds: two, in which the 40 were sent, though the last was answered after 1.08
    assert reported["throughput_per_s"] == pytest.approx(40 / 2, rel=1e-3)
    assert recounted["throughput_per_s"] == pytest.approx(40 / 1.076, rel=1e-3)


@pytest.mark.parametrize("text", ["", "Concurrency,p50 latency\n1,12\n", "p50 latency\nn/a\n"])
def test_another_report_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.csv"
    path.write_text(text)
    with pytest.raises(BenchmarkError, match=r"report\.csv has no figure of each of .*Avg latency"):
        read_report(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"experiments": [{}, {}]}', '{"experiments": [{"requests": [{}]}]}'])
def test_another_profile_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(text)
    with pytest.raises(BenchmarkError, match="is no profile of one experiment"):
        read_profile(path)


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], Path]:
    """An executable file in a folder of its own."""

    def make(folder: str) -> Path:
        path = tmp_path / folder / "perf_analyzer"
        path.parent.mkdir()
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return path

    return make


def test_the_one_that_was_fetched_comes_before_the_one_on_the_path(
    program: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on_path = program("path")
    monkeypatch.setenv("PATH", os.pathsep.join([str(on_path.parent), os.environ["PATH"]]))
    monkeypatch.setattr(perf_analyzer, "FETCHED", tmp_path / "fetched" / "perf_analyzer")
    assert find_perf_analyzer(None) == on_path
    fetched = program("fetched")
    assert find_perf_analyzer(None) == fetched
    assert find_perf_analyzer(on_path) == on_path


def test_without_one_the_command_that_fetches_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(perf_analyzer, "FETCHED", tmp_path / "absent")
    with pytest.raises(ConfigError, match=r"neither .*absent nor on PATH: `make perf-analyzer` fetches it"):
        find_perf_analyzer(None)
    with pytest.raises(ConfigError, match=r"--perf-analyzer .*other is not an executable file: `make perf-analyzer`"):
        find_perf_analyzer(tmp_path / "other")


@pytest.mark.parametrize(
    ("program_file", "message"),
    [("/bin/false", "ended with status 1"), ("/bin/true", "ended without a report"), ("/", "Permission denied")],
)
def test_a_program_that_fails_is_told(tmp_path: Path, program_file: str, message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        PerfAnalyzer(Path(program_file), tmp_path).run(LOOP, tmp_path / "run")


def figures(p50_ms: float, throughput_per_s: float = 100.0) -> dict[str, float]:
    latencies = {"mean_ms": p50_ms, "p50_ms": p50_ms, "p95_ms": p50_ms, "p99_ms": p50_ms}
    return {**latencies, "throughput_per_s": throughput_per_s}


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        ([10, 10.5, 10.9], [10, 10, 10], "agree"),
        ([10, 11.5, 13], [10, 10, 10.5], "within the spread of the rounds"),
        ([11.2, 11.5, 13], [10, 10, 11.1], "differ"),
        ([8, 8, 8.9], [10, 10, 9], "differ"),
        ([8.9, 8.9, 20], [10, 10, 9], "within the spread of the rounds"),
    ],
)
def test_figures_beyond_the_tolerance_differ_only_where_the_rounds_tell_them_apart(
    ours: list[float], theirs: list[float], verdict: str
) -> None:
    rounds = [{OURS: figures(a), THEIRS: figures(b)} for a, b in zip(ours, theirs, strict=True)]
    p50, _, _, throughput = compare(rounds)
    assert p50.verdict == verdict
    assert p50.difference == pytest.approx(np.median(ours) / np.median(theirs) - 1, abs=1e-4)
    assert (throughput.verdict, throughput.difference) == ("agree", 0.0)


@given(
    users=st.integers(1, 64),
    latency_ms=st.floats(0.1, 1e3),
    pause_ms=st.floats(0.0, 100.0),
    requests=st.integers(1, 50),
)
def test_what_lies_between_two_requests_of_a_user(
    users: int, latency_ms: float, pause_ms: float, requests: int
) -> None:
    seconds = requests * (latency_ms + pause_ms) / 1e3  # every user in step
    measured = figures(latency_ms, users * requests / seconds)
    assert between_ms(users, measured) == pytest.approx(pause_ms, abs=1e-6 * (latency_ms + pause_ms))


def test_what_tells_them_apart_is_said_in_milliseconds() -> None:
    rounds = [{OURS: figures(9.0, 400.0), THEIRS: figures(8.5, 470.0)}]  # 4 / 400 s = 10 ms, 4 / 470 s = 8.51 ms
    assert explain(4, rounds) == (
        "a median answer takes +0.50 ms longer by tesserank; from an answer to the same user's next request tesserank "
        "lets 1.00 ms pass, perf_analyzer 0.01 ms"
    )
