"""What an artefact must not have seen, and how that is found out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tesserank.artifact.manifest import load_manifest
from tesserank.errors import ArtifactError, ConfigError
from tesserank_evaluation.artifact import NOTHING, open_held_out
from tesserank_export.catalog import Catalog, read_catalog
from tesserank_export.events import read_events
from tesserank_export.heldout import PROTOCOLS, hold_out_last
from tests.export.tiny import make_options, run_export, write_events

REMEDY = "export one with tesserank export --hold-out plain"


@pytest.fixture(scope="module")
def catalog(tiny: Path) -> Catalog:
    return read_catalog(tiny / "items.jsonl")


@pytest.fixture(scope="module")
def digests(tiny: Path, catalog: Catalog) -> dict[str, str]:
    events = read_events(tiny / "events.csv", catalog)
    return {protocol: hold_out_last(events, 0, 0, protocol).digest for protocol in PROTOCOLS}


def test_the_manifest_says_what_was_held_out(
    artifact: Path, tiny: Path, catalog: Catalog, digests: dict[str, str]
) -> None:
    held = hold_out_last(read_events(tiny / "events.csv", catalog), 0, 0)
    said = load_manifest(artifact, []).provenance["events"]
    assert said["held_out"] == {"protocol": "plain", "users": held.hidden, "train_sha256": digests["plain"]}
    assert said["events"] == len(held.train) < 360


def test_an_artefact_that_was_held_out_is_taken_and_so_is_one_that_saw_no_log(
    artifact: Path, text_only: Path, catalog: Catalog, digests: dict[str, str]
) -> None:
    assert open_held_out(artifact, catalog, digests, REMEDY).fitted_on == "plain"
    assert open_held_out(text_only, catalog, digests, REMEDY).fitted_on == NOTHING


def test_an_artefact_that_saw_the_last_items_is_refused(tiny: Path, catalog: Catalog, digests: dict[str, str]) -> None:
    options = make_options(tiny, tiny / "bert", events=tiny / "events.csv", store=tiny / "artifacts" / "whole")
    seen = run_export(options)[0]
    with pytest.raises(ArtifactError, match=r"fitted on the whole log of 360 events.*export one with tesserank export"):
        open_held_out(seen, catalog, digests, REMEDY)


def test_an_artefact_of_another_log_or_catalogue_is_refused(
    artifact: Path, tiny: Path, catalog: Catalog, digests: dict[str, str], tmp_path: Path
) -> None:
    shorter = read_events(write_events(tmp_path / "events.csv", users=59), catalog)
    other = {protocol: hold_out_last(shorter, 0, 0, protocol).digest for protocol in PROTOCOLS}
    with pytest.raises(ArtifactError, match="held out the last items of another log"):
        open_held_out(artifact, catalog, other, REMEDY)
    renamed = Catalog.of([f"other {item}" for item in catalog.item_ids], catalog.texts)
    with pytest.raises(ArtifactError, match=r"was exported from catalogue .* not from this one"):
        open_held_out(artifact, renamed, digests, REMEDY)


def test_a_damaged_artefact_is_refused(
    artifact: Path, catalog: Catalog, digests: dict[str, str], tmp_path: Path
) -> None:
    damaged = Path(shutil.copytree(artifact, tmp_path / artifact.name))
    (damaged / "segments.toml").write_text("[history]\nrecency = 0.5\n", encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"segments\.toml"):
        open_held_out(damaged, catalog, digests, REMEDY)


def test_what_was_held_out_is_of_the_artefacts_id_where_no_file_tells(tiny: Path) -> None:
    segments = tiny / "text.toml"
    segments.write_text("[history.spaces]\ntext = 1.0\n", encoding="utf-8")
    made = {
        protocol: run_export(
            make_options(
                tiny,
                tiny / "bert",
                events=tiny / "events.csv",
                segments=segments,
                hold_out=protocol,
                store=tiny / "artifacts" / "ids",
            )
        )[0]
        for protocol in (None, *PROTOCOLS)
    }
    assert len({path.name for path in made.values()}) == 3


def test_holding_out_of_nothing_is_refused(tiny: Path) -> None:
    with pytest.raises(ConfigError, match="--hold-out needs --events"):
        make_options(tiny, tiny / "bert", hold_out="plain")
