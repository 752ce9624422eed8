"""More processes of a model than its configuration asks for: what Triton is shown then."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from tesserank.errors import ServerError
from tesserank.paths import TRACKED_REPOSITORY
from tesserank.protocol import SEGMENT_RANKER
from tesserank.server import TritonServer
from tesserank.server.repository import with_instances

RANKER = SEGMENT_RANKER.model


def parse(path: Path) -> Any:
    return text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())


@pytest.mark.parametrize("written", ["as tracked", "by protobuf"])
def test_every_configuration_asks_for_as_many_and_says_nothing_else_anew(tmp_path: Path, written: str) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(TRACKED_REPOSITORY, repository)
    if written == "by protobuf":  # as programs that change a parameter do
        for path in repository.rglob("*.pbtxt"):
            path.write_text(text_format.MessageToString(parse(path)), encoding="utf-8")
    target = with_instances(repository, RANKER, 12, tmp_path / "linked")
    files = {path.relative_to(repository) for path in repository.glob("*/**/*") if path.is_file()}
    assert len(files) > 10
    for path in files:
        if path.parts[0] == RANKER and path.suffix == ".pbtxt":
            changed, before = parse(target / path), parse(repository / path)
            assert [group.count for group in changed.instance_group] == [12]
            changed.instance_group[0].count = 1
            assert changed == before
        else:
            assert (target / path).resolve() == (repository / path).resolve(), path


def test_what_cannot_be_multiplied_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"no model segment_ranker in .*`make export`"):
        with_instances(tmp_path, RANKER, 2, tmp_path / "linked")
    (tmp_path / "repository" / RANKER).mkdir(parents=True)
    config = tmp_path / "repository" / RANKER / "config.pbtxt"
    for text in ('name: "segment_ranker"', "instance_group { count: 12 }", 2 * "instance_group { count: 1 }\n"):
        config.write_text(text, encoding="utf-8")
        with pytest.raises(ServerError, match=r"config\.pbtxt does not say `count: 1` in one instance_group"):
            with_instances(tmp_path / "repository", RANKER, 2, tmp_path / f"of {len(text)}")
    with pytest.raises(ServerError, match="rankers must be at least 1, not 0"):
        TritonServer(tmp_path / "repository", rankers=0)
