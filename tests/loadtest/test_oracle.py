"""The load tester against a server whose timings are known: what it must report, computed from those alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.loadtest.stub import load, stub

pytestmark = pytest.mark.usefixtures("patient")

# A loaded machine delays what it is to send and what it answers by some milliseconds: answers take long beside that.
SERVICE_S, STALL_START_S, STALL_S, DURATION_S, RATE = 0.2, 1.5, 1.2, 6, 60
PERCENTILES = {"p50_ms": 0.5, "p90_ms": 0.9, "p95_ms": 0.95, "p99_ms": 0.99, "p999_ms": 0.999}


def expected_latencies(sent: np.ndarray) -> np.ndarray:
    """Seconds from each send time to its answer: the service time, after the rest of the stall for those within it."""
    after_first = sent - sent[0]
    stalled = (after_first >= STALL_START_S) & (after_first < STALL_START_S + STALL_S)
    return np.where(stalled, STALL_START_S + STALL_S - after_first, 0.0) + SERVICE_S


def nearest_rank(latencies: np.ndarray, share: float) -> float:
    """The smallest that ``share`` of all do not exceed, in milliseconds."""
    return float(np.sort(latencies)[int(np.ceil(share * len(latencies))) - 1]) * 1e3


def test_latency_under_a_stall_counts_from_the_intended_time(tmp_path: Path, items_file: Path) -> None:
    sent = np.arange(1, RATE * DURATION_S) / RATE  # evenly spaced, the last at the end left out
    latencies = expected_latencies(sent)
    log = tmp_path / "came"
    options = ["--service-ms", f"{SERVICE_S * 1e3}", "--stall", f"{STALL_START_S}:{STALL_S}", "--log", str(log)]
    with stub(*options) as url:
        status, result = load(
            url, items_file, tmp_path / "out", "--rate", f"{RATE}", "--arrivals", "constant", "--duration", "6",
            "--slo", "p99<400ms,p50<400ms",
        )  # fmt: skip
    figures = result["figures"]["all"]
    assert figures["requests"] == figures["answered"] == len(sent) == len(log.read_text().split())
    assert figures["failed"] == figures["dropped"] == result["generator"]["unsent"] == 0
    assert result["verdicts"]["valid"], result["verdicts"]["reasons"]
    for name, share in PERCENTILES.items():
        assert figures[name] == pytest.approx(nearest_rank(latencies, share), rel=0.05), name
    assert figures["mean_ms"] == pytest.approx(latencies.mean() * 1e3, rel=0.05)
    assert figures["max_ms"] == pytest.approx(latencies.max() * 1e3, rel=0.05)
    # A sixth waits longer than 400 ms: only what was within the bound is good.
    good = (latencies <= 0.4).sum() / (sent[-1] + latencies[-1])  # from the start to the last answer
    assert figures["goodput_per_s"] == pytest.approx(good, rel=0.02)
    assert [clause["met"] for clause in result["verdicts"]["slo"]["clauses"]] == [False, True, True]
    assert status == 1
    # As the load came without a pause, so does the chart: every second has its requests, stalled or not.
    assert all(rate == pytest.approx(RATE, abs=2) for rate in result["series"]["answered_per_s"])
    assert result["verdicts"]["stability"]["stable"] is False


@pytest.mark.parametrize(
    "mode", [["--rate", "50", "--arrivals", "constant"], ["--users", "20"]], ids=["open", "closed"]
)
def test_slow_answers_hold_up_no_quick_one(tmp_path: Path, items_file: Path, mode: list[str]) -> None:
    # A third takes a second, so that about sixteen of them are on their way at a time, which other requests overtake.
    with stub("--service-ms", "100", "--slow", "3:1000") as url:
        _, result = load(url, items_file, tmp_path / "out", *mode, "--duration", "4")
    figures = result["figures"]["all"]
    assert 100 <= figures["p50_ms"] < 500, "a second, if quick answers waited for slow ones"
    assert figures["p90_ms"] >= 1000


def test_errors_are_counted_by_type_and_have_no_latency(tmp_path: Path, items_file: Path) -> None:
    with stub("--service-ms", "20", "--fail-every", "10") as url:
        status, result = load(
            url, items_file, tmp_path / "out", "--rate", "100", "--arrivals", "constant", "--duration", "3",
            "--slo", "errors<=10%",
        )  # fmt: skip
    figures = result["figures"]["gRPC recommend"]
    assert (figures["requests"], figures["failed"], figures["answered"]) == (299, 29, 270)
    assert figures["error_ratio"] == 29 / 299
    (error,) = result["errors"]
    assert (error["error"], error["count"], error["first"]) == ("InternalServerError", 29, "injected")
    assert status == 0


def test_arrivals_beyond_the_bound_are_dropped_and_counted_as_errors(tmp_path: Path, items_file: Path) -> None:
    # 5 on their way, each for a second: 5 a second are answered, whatever comes.
    with stub("--service-ms", "1000") as url:
        status, result = load(
            url, items_file, tmp_path / "out", "--rate", "50", "--arrivals", "constant", "--duration", "3",
            "--max-in-flight", "5",
        )  # fmt: skip
    figures = result["figures"]["all"]
    assert figures["requests"] + figures["dropped"] == 149
    assert 13 <= figures["requests"] <= 15
    assert figures["error_ratio"] == figures["dropped"] / 149
    assert result["verdicts"]["valid"]
    assert status == 1


def test_a_closed_loop_does_as_many_requests_as_its_users_can(tmp_path: Path, items_file: Path) -> None:
    with stub("--service-ms", "100") as url:
        status, result = load(url, items_file, tmp_path / "out", "--users", "4", "--duration", "3", "--warmup", "1")
    figures = result["figures"]["all"]
    # 4 users, a request every 0.1 s and what lies between two requests; counted for two seconds
    assert 60 <= figures["requests"] <= 80
    assert 30 <= figures["throughput_per_s"] <= 41
    assert 100 <= figures["p50_ms"] < 125
    assert figures["p50_ms"] == figures["service_p50_ms"]
    assert result["generator"]["planned"] is None
    assert status == 0


@pytest.mark.parametrize("mode", [["--rate", "80"], ["--users", "4"]], ids=["open", "closed"])
def test_what_several_processes_count_is_merged(tmp_path: Path, items_file: Path, mode: list[str]) -> None:
    log = tmp_path / "came"
    with stub("--service-ms", "50", "--log", str(log)) as url:
        _, result = load(url, items_file, tmp_path / "out", *mode, "--processes", "2", "--duration", "3")
    figures = result["figures"]["all"]
    assert figures["requests"] == figures["answered"] == len(log.read_text().split())
    assert len(result["generator"]["cpu_of_processes"]) == 2
    assert result["generator"]["unsent"] == 0
    assert 50 <= figures["p50_ms"] < 75


def test_two_runs_send_the_same_requests_however_many_processes_share_them(tmp_path: Path, items_file: Path) -> None:
    def digests(name: str, *options: str) -> list[str]:
        log = tmp_path / f"{name}.log"
        with stub("--log", str(log)) as url:
            load(url, items_file, tmp_path / name, "--rate", "100", "--duration", "2", *options)
        return sorted(line.partition(",")[2] for line in log.read_text().split())

    alone = digests("alone")
    assert len(set(alone)) > 150
    assert digests("shared", "--processes", "2") == alone
    assert digests("other", "--seed", "1") != alone


def test_a_generator_that_lags_declares_its_run_invalid(tmp_path: Path, items_file: Path) -> None:
    with stub() as url:
        status, result = load(
            url, items_file, tmp_path / "out", "--rate", "20000", "--duration", "1", "--timeout", "0.5"
        )
    assert not result["verdicts"]["valid"]
    assert any("lagged" in reason or "not sent" in reason for reason in result["verdicts"]["reasons"])
    assert status == 3
