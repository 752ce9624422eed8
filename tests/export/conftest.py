"""Exports are slow to make, so one of each kind is made and shared; tests that change an artefact copy it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from transformers.utils import logging

from tesserank_export.checkpoint import Checkpoint, resolve_checkpoint
from tesserank_export.graph import export_backbone
from tests.export.tiny import make_options, run_export, save_bert, write_events


@dataclass(frozen=True)
class Exported:
    """An export as its caller sees it."""

    root: Path
    artifact: Path
    output: str


@pytest.fixture(autouse=True, scope="session")
def _no_progress_bars() -> Iterator[None]:
    logging.disable_progress_bar()
    yield
    logging.enable_progress_bar()


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT's directory."""
    return save_bert(tmp_path_factory.mktemp("model") / "tiny-bert")


@pytest.fixture(scope="session")
def checkpoint(bert: Path) -> Checkpoint:
    return resolve_checkpoint(str(bert))


@pytest.fixture(scope="session")
def backbone(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny BERT as an ONNX file of hidden states."""
    path = tmp_path_factory.mktemp("backbone") / "backbone.onnx"
    export_backbone(checkpoint, path)
    return path


@pytest.fixture(scope="session")
def exported(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The tiny catalogue and its events, exported with the tiny BERT."""
    root = tmp_path_factory.mktemp("exported")
    artifact, output = run_export(make_options(root, bert, events=write_events(root / "events.csv")))
    return Exported(root, artifact, output)
