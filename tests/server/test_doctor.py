"""The doctor against a real tritonserver whose models are stand-ins that misbehave when asked to."""

from __future__ import annotations

import argparse
import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tesserank.commands import doctor as command
from tesserank.errors import ServerError
from tesserank.server import StageReport, Status, TritonServer
from tesserank.server.doctor import STAGES, canary, diagnose, diagnose_host

Pipeline = tuple[Path, TritonServer]


@pytest.fixture
def break_model(pipeline: Pipeline) -> Iterator[Callable[[str, str], None]]:
    """Gives a model a fault for the length of a test."""
    files: list[Path] = []

    def break_it(model: str, fault: str) -> None:
        files.append(pipeline[0] / model / "1" / "fault")
        files[-1].write_text(fault)

    yield break_it
    for file in files:
        file.unlink()


def by_stage(reports: list[StageReport]) -> dict[str, StageReport]:
    return {report.stage: report for report in reports}


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments))


@pytest.mark.parametrize("endpoint", ["grpc", "http"])
def test_a_healthy_pipeline_is_healthy_in_every_stage(pipeline: Pipeline, endpoint: str) -> None:
    url = getattr(pipeline[1].urls, endpoint)
    reports = diagnose(url)
    assert [report.stage for report in reports] == list(STAGES)
    assert [str(report) for report in reports if not report.healthy] == []
    canary(url)


@pytest.mark.parametrize(
    ("model", "fault", "found", "remedy", "not_reached"),
    [
        (
            "segment_encoder", "raise", "the index is gone", "log",
            ["segment_ranker", "recommend", "segment_embedder", "segmented_maxsim"],
        ),
        ("segment_ranker", "nan", "SCORES.* not finite", "make export", ["recommend"]),
        ("segment_embedder", "empty", "SEGMENT_EMBEDDINGS.* empty", "numpy<2", ["segmented_maxsim"]),
        ("segmented_maxsim", "empty", "ITEM_IDS.* empty", "numpy<2", []),
        ("recommend", "sleep", r"no answer within 1 s", "--timeout", []),
        ("cross_encoder", "empty", "SCORES came back empty", "numpy<2", []),
    ],
)  # fmt: skip
@pytest.mark.parametrize("endpoint", ["grpc", "http"])
def test_the_broken_stage_is_named_with_its_remedy(
    pipeline: Pipeline,
    break_model: Callable[[str, str], None],
    endpoint: str,
    model: str,
    fault: str,
    found: str,
    remedy: str,
    not_reached: list[str],
) -> None:
    break_model(model, fault)
    url = getattr(pipeline[1].urls, endpoint)
    reports = by_stage(diagnose(url, timeout_s=1.0))
    assert [stage for stage, report in reports.items() if report.status is Status.BROKEN] == [model]
    assert re.search(found, reports[model].detail)
    assert remedy in reports[model].remedy
    assert [stage for stage, report in reports.items() if report.status is Status.NOT_REACHED] == not_reached
    with pytest.raises(ServerError, match=f"^{model}: .*{found}"):
        canary(url, timeout_s=1.0)


def test_a_dead_stub_is_found_although_its_model_says_ready_and_a_missing_model_is_too(
    tmp_path: Path, launch: Callable[..., TritonServer], write_pipeline: Callable[..., Path]
) -> None:
    repository = write_pipeline(tmp_path, without="cross_encoder")
    with launch(repository) as server:
        (repository / "segment_ranker" / "1" / "fault").write_text("exit")
        for attempt in ("while it dies", "once it is dead"):
            reports = by_stage(diagnose(server.urls.grpc))
            ranker = reports["segment_ranker"]
            assert ranker.status is Status.BROKEN, attempt
            assert ranker.detail == "the Python stub process of segment_ranker is dead"
            assert ranker.remedy == "restart the server"
            assert "because of segment_ranker" in reports["recommend"].detail
        assert reports["models"].detail == "5 of 6 models ready: cross_encoder is absent"
        assert reports["cross_encoder"].detail == "the model is absent"
        assert "make export" in reports["cross_encoder"].remedy


def test_without_a_server_only_connect_is_broken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    first, *others = diagnose(f"127.0.0.1:{port}")
    assert first.status is Status.BROKEN
    assert "tesserank serve" in first.remedy
    assert {report.status for report in others} == {Status.NOT_REACHED}


def test_the_http_port_given_as_a_grpc_endpoint_is_told_apart(pipeline: Pipeline) -> None:
    reports = by_stage(diagnose(pipeline[1].urls.http.removeprefix("http://"), timeout_s=2.0))
    assert reports["connect"].healthy
    assert reports["live"].status is Status.BROKEN
    assert "http://host:8000" in reports["live"].remedy


@pytest.mark.parametrize("url", ["localhost", "ftp://localhost:21", "localhost:port", "localhost:99999", ""])
def test_an_unusable_url_is_refused(url: str) -> None:
    with pytest.raises(ServerError, match="neither host:port"):
        diagnose(url)


def test_this_machine_is_examined_for_a_local_server_only() -> None:
    local = by_stage(diagnose_host("127.0.0.1:8001"))
    assert {"tritonserver", "python", "numpy", "glibc", "python stub", "python library"} <= set(local)
    assert all(report.healthy for report in local.values())
    assert diagnose_host("192.0.2.1:8001") == []


def test_the_command_exits_0_on_a_healthy_server_and_prints_every_stage(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--url", pipeline[1].urls.grpc) == 0
    printed = capsys.readouterr().out
    assert all(stage in printed for stage in STAGES)


def test_the_command_exits_1_and_its_json_names_the_broken_stage(
    pipeline: Pipeline, break_model: Callable[[str, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    break_model("recommend", "raise")
    assert run("--url", pipeline[1].urls.grpc, "--json") == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["healthy"] is False
    assert [stage["stage"] for stage in printed["stages"] if stage["status"] == "broken"] == ["recommend"]
