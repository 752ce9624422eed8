"""``tesserank loadtest`` refuses what it cannot do before it starts anything."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tesserank.cli import main
from tesserank_loadtest import target

Refused = Callable[..., str]


@pytest.fixture
def free_address() -> str:
    """Nobody listens there."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{unused.getsockname()[1]}"


@pytest.fixture
def refused(tmp_path: Path, items_file: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """``refused(*options)``: the message of a run that ends with status 2 and leaves no report."""

    def run(*options: object) -> str:
        out = tmp_path / "out"
        common = ["loadtest", "--workload", items_file, "--candidates", 10, "--out", out, "--duration", 1]
        try:
            status = main([str(argument) for argument in (*common, *options)])
        except SystemExit as exit_:  # argparse
            status = exit_.code  # type: ignore[assignment]
        assert status == 2
        assert not out.exists()
        return capsys.readouterr().err

    return run


@pytest.mark.parametrize("option", ["--grpc-url", "--http-url"])
def test_another_machine_is_refused(refused: Refused, option: str) -> None:
    message = refused(option, "192.0.2.1:8001")
    assert option in message
    assert "192.0.2.1 is not a loopback address" in message
    assert "--allow-remote" in message


def test_another_machine_is_allowed_on_request() -> None:
    assert target.check_url("--grpc-url", "192.0.2.1:8001", allow_remote=True) == "192.0.2.1:8001"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("127.0.0.1:8001", "127.0.0.1:8001"),
        ("http://localhost:8000/", "localhost:8000"),
        ("[::1]:8000", "[::1]:8000"),
    ],
)
def test_addresses_of_this_machine_are_accepted(url: str, address: str) -> None:
    assert target.check_url("--http-url", url, allow_remote=False) == address


@pytest.mark.parametrize("url", ["127.0.0.1", "127.0.0.1:port", "grpc://127.0.0.1:8001", "127.0.0.1:8001/v2", ":8001"])
def test_what_is_no_address_is_refused(refused: Refused, url: str) -> None:
    assert "is not host:port" in refused("--grpc-url", url)


def test_a_named_server_that_does_not_answer_is_not_replaced(refused: Refused, free_address: str) -> None:
    message = refused("--grpc-url", free_address)
    assert f"grpc://{free_address}" in message
    assert "tesserank serve" in message


def test_without_server_and_repository_the_remedy_is_named(
    refused: Refused, free_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "DEFAULT_URLS", {"grpc": free_address, "http": free_address})
    message = refused("--model-repository", tmp_path / "absent")
    assert f"no server answers at {free_address}" in message
    assert f"no model repository at {tmp_path / 'absent'}" in message
    assert "make export" in message


def test_an_unreadable_workload_is_named(refused: Refused, tmp_path: Path) -> None:
    assert f"cannot read item ids from {tmp_path / 'absent'}" in refused("--workload", tmp_path / "absent")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--candidates", 51], "51 candidates of a catalogue of 50 items"),
        (["--model", "cross_encoder", "--candidates", "catalogue"], "give a number with --candidates"),
        (["--zero-hit", "--events", "log.csv"], "leave out --events"),
        (["--arrivals", "step"], "--arrivals step needs --rate"),
        (["--rate", 5, "--arrivals", "step"], "--arrivals step needs --peak"),
        (["--rate", 5, "--peak", 9], "--arrivals poisson has no --peak"),
        (["--rate", 5, "--arrivals", "replay", "--zero-hit"], "no timestamps to replay"),
        (["--rate", 5, "--users", 5], "not allowed with argument"),
        (["--warmup", 1], "--warmup 1 of --duration 1 leaves nothing to count"),
        (["--slo", "p98<5ms"], "'p98' is none of errors"),
        (["--ui", "--users", "2,4"], "--ui shows one run"),
        (["--scenario", "absent"], "name a file, or one of ecommerce, social, video"),
        (["knee", "--low", 5, "--high", 5], "--low 5 is not below --high 5"),
        (["knee", "--arrivals", "step", "--peak", 9], "--arrivals step has several"),
        (["--users", 1], "--users 1 for 2 protocols and 1 processes: give 2 at least"),
        (["--users", 4, "--processes", 5], "give 5 at least"),
        (["--users", 0], "0 is not from 1 to"),
        (["--duration", 1.5], "'1.5' is not a whole number"),
        (["--spawn-rate", "nan"], "nan is not from"),
        (["--users", "2,x"], "'x' is not a whole number"),
        (["--candidates", "some"], "'some' is not a whole number"),
        (["--protocol", "both", "--grpc-url", "127.0.0.1:1"], "--protocol both with the URL of grpc alone"),
        (["--protocol", "http", "--grpc-url", "127.0.0.1:1"], "--protocol http with the URL of grpc alone"),
        (["--events", "absent.csv"], "cannot read events"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_options_that_cannot_work_are_refused(refused: Refused, options: list[object], message: str) -> None:
    assert message in refused(*options)


def test_an_earlier_report_is_not_overwritten(
    tmp_path: Path, items_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.html").write_text("earlier")
    options = ["--workload", str(items_file), "--candidates", "10", "--out", str(tmp_path)]
    assert main(["loadtest", *options]) == 2
    assert "name another folder with --out" in capsys.readouterr().err
    assert (tmp_path / "report.html").read_text() == "earlier"
