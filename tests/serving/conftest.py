"""Real servers of the real models: one a way of cutting histories, started when a test first asks for it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from examples.sample_data import SamplePaths, write_sample
from tesserank.artifact.assemble import assemble
from tesserank.paths import TRACKED_REPOSITORY
from tesserank_client import Client
from tests.serving.pipeline import (
    CACHE,
    CUTS,
    PRECISIONS,
    Offline,
    Served,
    Shop,
    export,
    serve,
    sweep_old_steps,
    write_segments,
)

# What segment_ranker runs with, by cut; the others have what its config.pbtxt says.
ENVIRONMENTS = {"session": {"TESSERANK_CACHE_MIB": "1"}}


class Fleet:
    """One variation a cut, exported and served at first use, all stopped together."""

    def __init__(self, sample: SamplePaths, directory: Path, stack: ExitStack) -> None:
        self._sample = sample
        self._directory = directory
        self._stack = stack
        self._served: dict[str, Served] = {}

    def __getitem__(self, cut: str) -> Served:
        if cut not in self._served:
            self._served[cut] = self._start(cut)
        return self._served[cut]

    def _start(self, cut: str) -> Served:
        directory = self._directory / cut
        directory.mkdir()
        segments = write_segments(directory, cut)
        artifact = export(self._sample, segments, directory / "store", PRECISIONS[cut])
        repository = directory / "model_repository"
        assemble(TRACKED_REPOSITORY, artifact, repository)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in ENVIRONMENTS.get(cut, {}).items():
                patch.setenv(name, value)
            server = self._stack.enter_context(serve(repository))
        return Served(cut, repository, server, Offline(artifact))


@pytest.fixture(scope="session")
def sample() -> SamplePaths:
    return write_sample("ecommerce", CACHE / "sample")


@pytest.fixture(scope="session")
def shop(sample: SamplePaths) -> Shop:
    return Shop.read(sample)


@pytest.fixture(scope="session")
def fleet(sample: SamplePaths) -> Iterator[Fleet]:
    sweep_old_steps()
    # Not in pytest's own temporary folder: beside the cache, large files are links and not copies.
    with tempfile.TemporaryDirectory(prefix=f"run-{os.getpid()}-", dir=CACHE) as directory, ExitStack() as stack:
        yield Fleet(sample, Path(directory), stack)


@pytest.fixture(params=CUTS)
def served(fleet: Fleet, request: pytest.FixtureRequest) -> Served:
    """Each way of cutting histories in turn."""
    cut: str = request.param
    return fleet[cut]


@pytest.fixture(params=["session", "content"])
def encoding(fleet: Fleet, request: pytest.FixtureRequest) -> Served:
    """Each variation whose histories go through the encoder and the cache."""
    cut: str = request.param
    return fleet[cut]


@pytest.fixture
def by_item(fleet: Fleet) -> Served:
    return fleet["item"]


@pytest.fixture
def by_session(fleet: Fleet) -> Served:
    return fleet["session"]


@pytest.fixture
def client(by_item: Served) -> Iterator[Client]:
    """A client of the server that cuts by item."""
    with by_item.client() as client:
        yield client
