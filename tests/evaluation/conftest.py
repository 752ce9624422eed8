"""A tiny artefact for each protocol, exported as ``tesserank evaluate`` does it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tesserank.artifact.layout import Layout
from tesserank.index import ItemIndex, load_index
from tests.export.tiny import make_options, run_export, write_inputs


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ``items.jsonl``, ``events.csv`` and the checkpoint ``bert``."""
    return write_inputs(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def artifact(tiny: Path) -> Path:
    """Exported with the plain protocol's items held out."""
    return run_export(make_options(tiny, tiny / "bert", events=tiny / "events.csv", hold_out="plain"))[0]


@pytest.fixture(scope="session")
def text_only(tiny: Path) -> Path:
    """Exported without a log."""
    return run_export(make_options(tiny, tiny / "bert", store=tiny / "artifacts" / "text-only"))[0]


@pytest.fixture(scope="session")
def index(artifact: Path) -> ItemIndex:
    return load_index(Layout(artifact).index)
