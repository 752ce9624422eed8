"""``tesserank bench``: benchmarks by name, each imported when it is asked for and not before."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tesserank import cli as tesserank_cli
from tesserank_bench import cli
from tesserank_bench.cli import Benchmark

SLEEP = '''
"""Sleep.

Twice as long as one should.
"""

def add_arguments(parser):
    parser.add_argument("--hours", type=int, default=8)

def run(args):
    print(args.hours, args.quick, args.json, args.seed, args.out)
    return 4
'''


@pytest.fixture(autouse=True)
def two_benchmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``sleep``, and ``dream``, whose library is not installed."""
    (tmp_path / "sleep_benchmark.py").write_text(SLEEP.lstrip())
    (tmp_path / "dream_benchmark.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sleep_benchmark", raising=False)
    benchmarks = {"sleep": Benchmark("sleep_benchmark", "how long"), "dream": Benchmark("dream_benchmark", "of what")}
    monkeypatch.setattr(cli, "BENCHMARKS", benchmarks)


def test_a_benchmark_gets_its_own_options_and_the_common_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert tesserank_cli.main(["bench", "sleep"]) == 4
    assert (
        tesserank_cli.main(["bench", "sleep", "--hours", "7", "--quick", "--json", "--seed", "3", "--out", "r.json"])
        == 4
    )
    assert capsys.readouterr().out.splitlines() == ["8 False False 0 None", "7 True True 3 r.json"]


def test_help_names_every_benchmark_and_imports_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        tesserank_cli.main(["bench", "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert re.search(r"sleep\s+how long", shown)
    assert re.search(r"dream\s+of what", shown)
    assert "--quick" in shown
    assert "sleep_benchmark" not in sys.modules


def test_a_benchmarks_help_is_its_docstring(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        tesserank_cli.main(["bench", "sleep", "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for text in ("Twice as long as one should.", "--hours", "--quick", "--json", "--seed", "--out"):
        assert text in shown


@pytest.mark.parametrize("arguments", [[], ["--quick", "--hours", "3"], ["--help"], ["x"]], ids=str)
def test_a_missing_library_is_one_line_with_the_command_that_installs_it(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tesserank_cli.main(["bench", "dream", *arguments]) == 2
    expected = (
        "error: tesserank bench dream is not installed (no module no_such_library): pip install 'tesserank[bench]'\n"
    )
    assert capsys.readouterr() == ("", expected)


@pytest.mark.parametrize("arguments", [["bench"], ["bench", "walk"], ["bench", "sleep", "--miles", "3"]], ids=str)
def test_what_is_no_benchmark_or_option_exits_2_with_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        tesserank_cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: tesserank" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["latency", "real-input"])
def test_the_benchmarks_options_parse_without_measuring(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args([name, "--help"])
    assert ended.value.code == 0


def test_the_command_line_reaches_it_by_its_entry_point() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "tesserank", "bench", "--help"], capture_output=True, text=True, check=True
    )
    for name in ("latency", "kernels", "catalogue", "index", "real-input"):
        assert name in shown.stdout
