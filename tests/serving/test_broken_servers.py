"""Artefacts that must not be served, and servers of which a part has died: each is told by name, with its remedy."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tesserank.artifact.layout import Layout
from tesserank.errors import ServerError
from tesserank.files import read_json, write_json
from tesserank.server import Status, TritonServer
from tesserank.server.doctor import STAGES, canary, diagnose
from tesserank_client import InternalServerError
from tests.serving.pipeline import QUERIES, Served, serve


def copy_linked(repository: Path, target: Path) -> Path:
    """A copy that shares its large files; what is changed in it must be replaced, not written to."""
    shutil.copytree(repository, target, copy_function=os.link)
    return target


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)


def part_of(repository: Path, model: str) -> Layout:
    return Layout(repository / model / "1" / "artifact")


def corrupt_the_vectors(repository: Path, other: Path) -> None:
    flip_a_byte(part_of(repository, "segment_ranker").index / "text" / "codes.npy")


def rename_the_encoder(repository: Path, other: Path) -> None:
    manifest = part_of(repository, "segment_embedder").manifest
    table = read_json(manifest) | {"encoder_id": "0123456789abcdef"}
    manifest.unlink()
    write_json(manifest, table)


def take_anothers_encoder(repository: Path, other: Path) -> None:
    shutil.rmtree(repository / "segment_encoder")
    shutil.copytree(other / "segment_encoder", repository / "segment_encoder", copy_function=os.link)


def lose_the_tokenizer(repository: Path, other: Path) -> None:
    part_of(repository, "cross_encoder").tokenizer.unlink()


Damage = Callable[[Path, Path], None]
DAMAGES: dict[Damage, str] = {
    corrupt_the_vectors: r"segment_ranker/1/.*codes\.npy has SHA-256 .*: it is corrupt, rebuild it",
    rename_the_encoder: r"index \w+ was built with encoder \w+, but this artefact's encoder is 0123456789abcdef",
    take_anothers_encoder: (
        r"segment_encoder serves artefact \w+, but segment_(ranker|embedder) serves \w+: .* with make export"
    ),
    lose_the_tokenizer: r"cross_encoder/1/.*tokenizer\.json is missing from artefact \w+: rebuild it with make export",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_corrupt_or_mismatched_artefact_is_refused_by_name(
    by_item: Served, fleet: dict[str, Served], damage: Damage
) -> None:
    # Beside the original, where links reach.
    repository = copy_linked(by_item.repository, by_item.repository.parent / damage.__name__ / "model_repository")
    damage(repository, fleet["content"].repository)
    server = serve(repository)
    with pytest.raises(ServerError, match=DAMAGES[damage]):
        server.start()
    with pytest.raises(ServerError, match="not started"):
        _ = server.pid
    canary(by_item.server.urls.grpc)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_doctor_finds_a_healthy_server_healthy(served: Served, protocol: str) -> None:
    reports = diagnose(getattr(served.server.urls, protocol))
    assert [(report.stage, report.status) for report in reports] == [(stage, Status.OK) for stage in STAGES]


def stubs_of(server: TritonServer, model: str) -> list[psutil.Process]:
    """The Python processes of a model."""
    return [
        child
        for child in psutil.Process(server.pid).children(recursive=True)
        if any(f"/{model}/1/model.py" in argument for argument in child.cmdline())
    ]


def await_end(process: psutil.Process, within_s: float = 10.0) -> None:
    """Until it runs no more; the server does not reap its children, so it may stay a zombie."""
    deadline = time.monotonic() + within_s
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"process {process.pid} is still {process.status()}"
        time.sleep(0.02)


def test_the_doctor_names_a_dead_model_which_the_server_calls_ready(by_item: Served) -> None:
    directory = by_item.repository.parent / "dying"
    with serve(copy_linked(by_item.repository, directory / "model_repository")) as server:
        [victim] = stubs_of(server, "segment_ranker")
        victim.kill()
        await_end(victim)
        dying = Served("item", directory, server, by_item.offline)
        with dying.client() as client:
            assert client.is_ready(), "which is why there is a doctor"
            with pytest.raises(InternalServerError, match="tesserank doctor"):
                client.recommend(texts={"query": QUERIES[0]})
        reports = {report.stage: report for report in diagnose(server.urls.grpc)}
        for stage in set(STAGES) - {"segment_ranker", "recommend"}:
            assert reports[stage].status is Status.OK, str(reports[stage])
        broken = reports["segment_ranker"]
        assert broken.status is Status.BROKEN
        assert "stub process" in broken.detail
        assert broken.remedy == "restart the server"
        assert reports["recommend"].status is Status.NOT_REACHED
        with pytest.raises(ServerError, match=r"^segment_ranker: .*: restart the server$"):
            canary(server.urls.grpc)
