"""docs/metrics.md tabulates every figure of the code, and no other; its commands are ones that the load test takes."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from tesserank_loadtest import cli, options
from tesserank_loadtest.metrics import METRICS
from tesserank_loadtest.plan import PROTOCOLS

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\.venv/bin/tesserank loadtest (.*)$", PAGE, re.M)


def parsed(command: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return parser.parse_args(shlex.split(command, comments=True))


def test_the_table_of_figures_is_the_codes() -> None:
    section = PAGE.partition("\n## Figures\n")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\| `.*$", section, re.M)]
    named = [(name.strip("`"), unit, slo.strip("`") or None) for name, unit, slo, _, _ in rows]
    assert named == [(metric.name, metric.unit, metric.slo) for metric in METRICS]
    assert all(formula for _, _, _, formula, _ in rows)


@pytest.mark.parametrize("command", [command for command in COMMANDS if "compare" not in command])
def test_documented_commands_make_a_plan(command: str) -> None:
    args = parsed(command)
    options.check(args, PROTOCOLS)
    plan = options.plan(args, dict.fromkeys(PROTOCOLS, "127.0.0.1:1"), options.workload(args))
    assert (plan.arrivals is None) == ("--rate" not in command and args.mode != "knee")


def test_there_are_documented_commands_of_every_mode() -> None:
    assert len(COMMANDS) > 5
    assert {parsed(command).mode for command in COMMANDS} == {None, "knee", "compare"}


def test_a_runs_options_may_stand_before_the_subcommand_and_after_it() -> None:
    before = parsed("--duration 7 --slo p99<5ms --zero-hit knee --high 9")
    after = parsed("knee --high 9 --duration 7 --slo p99<5ms --zero-hit")
    assert before == after
    assert (after.duration, after.high, after.zero_hit, after.timeout) == (7, 9.0, True, 5.0)


def test_the_help_names_the_defaults_of_both() -> None:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    (subparsers,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for shown in (parser.format_help(), subparsers.choices["knee"].format_help()):
        assert "SUPPRESS" not in shown
        assert "whole seconds (20)" in shown
        assert "errors<=0%" in shown
