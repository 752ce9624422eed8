"""The command line: which commands there are, and how it ends when something is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tesserank import cli

COMMAND = """
\"\"\"Greet somebody.\"\"\"
from tesserank.errors import ConfigError

def add_arguments(parser):
    parser.add_argument("--name", default="you")

def run(args):
    if args.name == "nobody":
        raise ConfigError("nobody to greet: pass --name")
    if args.name == "impatient":
        raise KeyboardInterrupt
    print("hello", args.name)
    return 3
"""


@pytest.fixture(autouse=True)
def more_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command ``greet``, and one called ``doctor`` whose library is not installed."""
    (tmp_path / "greeting_command.py").write_text(COMMAND.lstrip())
    (tmp_path / "lacking_command.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(cli, "entry_points", lambda group: [])
    monkeypatch.setattr(
        cli, "_OWN", {"greet": "greeting_command", "doctor": "lacking_command", "paint": "lacking_command"}
    )


def test_help_lists_every_command() -> None:
    shown = subprocess.run([sys.executable, "-m", "tesserank", "--help"], capture_output=True, text=True, check=True)
    for name in ("serve", "doctor", "recommend", "export", "loadtest"):
        assert re.search(rf"^    {name}\s", shown.stdout, re.MULTILINE)


def test_a_commands_docstring_is_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "greet Greet somebody." in shown
    assert "paint not installed (no module no_such_library): pip install 'tesserank[paint]'" in shown


@pytest.mark.parametrize("arguments", [["dance"], [], ["greet", "--volume", "11"]], ids=str)
def test_what_is_not_a_command_exits_2_with_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: tesserank" in capsys.readouterr().err


def test_a_commands_status_is_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["greet", "--name", "Ada"]) == 3
    assert capsys.readouterr().out == "hello Ada\n"


def test_an_error_on_purpose_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["greet", "--name", "nobody"]) == 2
    assert capsys.readouterr().err == "error: nobody to greet: pass --name\n"


def test_an_interrupt_is_status_130() -> None:
    assert cli.main(["greet", "--name", "impatient"]) == 130


@pytest.mark.parametrize("arguments", [[], ["--catalog", "items.jsonl"], ["--help"], ["x", "-v"]], ids=str)
def test_a_command_whose_library_is_missing_says_which_extra_to_install(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["paint", *arguments]) == 2
    expected = "error: tesserank paint is not installed (no module no_such_library): pip install 'tesserank[paint]'\n"
    assert capsys.readouterr().err == expected


def test_the_extra_named_is_one_that_exists(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 2
    assert "pip install 'tesserank[serve]'" in capsys.readouterr().err


def test_a_command_that_is_not_asked_for_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "greeting_command", raising=False)
    assert cli.main(["doctor"]) == 2
    assert "greeting_command" not in sys.modules
