"""Replays, sweeps, the knee and comparisons, on the stub server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tesserank.cli import main
from tesserank_loadtest.options import DEFAULT_USERS
from tests.loadtest.stub import load, stub

pytestmark = pytest.mark.usefixtures("patient")


def test_a_replay_sends_the_logs_requests_in_its_rhythm(tmp_path: Path, items_file: Path) -> None:
    # A burst of ten events in the middle of a quiet time, one user each two: all of it in three seconds.
    stamps = [*range(0, 1000, 50), *([1000] * 20), *range(1050, 2050, 50)]
    rows = [f"user-{at % 5},item-{at % 50},{stamp}" for at, stamp in enumerate(stamps)]
    log = tmp_path / "events.csv"
    log.write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    (tmp_path / "scenario.toml").write_text("past_share = 0.1\n")  # six events, so every user has a history
    with stub("--service-ms", "5") as url:
        status, result = load(
            url, items_file, tmp_path / "out", "--events", str(log), "--scenario", str(tmp_path / "scenario.toml"),
            "--arrivals", "replay", "--rate", "18", "--duration", "3",
        )  # fmt: skip
    assert status == 0
    assert result["figures"]["all"]["requests"] == 53  # 54 of 60 events are not past; the last comes at the very end
    assert max(result["series"]["answered_per_s"]) >= 20
    assert min(result["series"]["answered_per_s"]) <= 15
    assert any("compressed" in note for note in result["notes"])


def test_a_sweep_reports_every_number_of_users(
    tmp_path: Path, items_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with stub("--service-ms", "100") as url:
        common = ["--grpc-url", url, "--workload", str(items_file), "--candidates", "10", "--out", str(out)]
        assert main(["loadtest", *common, "--users", "1,4", "--duration", "3"]) == 0
    counts = {
        users: json.loads((out / f"users-{users}" / "result.json").read_text())["figures"]["all"]["requests"]
        for users in (1, 4)
    }
    assert 3.5 < counts[4] / counts[1] < 4.5
    assert "users" in capsys.readouterr().out
    assert DEFAULT_USERS == (8,)


def test_the_knee_of_a_server_that_takes_so_many_at_a_time(
    tmp_path: Path, items_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Ten at a time, a tenth of a second each: more than a hundred a second are dropped, which is what errors are here.
    out = tmp_path / "out"
    with stub("--service-ms", "100") as url:
        common = ["--grpc-url", url, "--workload", str(items_file), "--candidates", "10", "--out", str(out)]
        options = ["--arrivals", "constant", "--duration", "1", "--max-in-flight", "10", "--slo", "errors<=2%"]
        search = ["--low", "40", "--high", "250", "--precision", "0.3"]
        assert main(["loadtest", *common, *options, "knee", *search]) == 0
    shown = capsys.readouterr().out
    rate = float(shown.partition("the knee: ")[2].partition(" ")[0])
    assert 60 <= rate <= 105
    assert "250/s: misses errors<=2%" in shown
    assert (out / "rate-40" / "report.html").exists()


def test_two_results_are_compared_and_a_slower_one_fails(
    tmp_path: Path, items_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, service in (("before", "20"), ("after", "60")):
        with stub("--service-ms", service) as url:
            load(url, items_file, tmp_path / name, "--rate", "50", "--arrivals", "constant", "--duration", "1")
    before, after = str(tmp_path / "before"), str(tmp_path / "after" / "result.json")
    capsys.readouterr()
    assert main(["loadtest", "compare", before, after]) == 1
    assert "worse by more than 10%: all p50_ms" in capsys.readouterr().out
    assert main(["loadtest", "compare", before, after, "--tolerance", "10"]) == 0
    assert main(["loadtest", "compare", before, str(tmp_path)]) == 2
    assert "is no result of tesserank loadtest" in capsys.readouterr().err
