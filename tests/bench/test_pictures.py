"""Pictures: drawn of whatever a result has, the same bytes for the same result."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest

from tesserank_bench import plots
from tesserank_bench.latency.pictures import COLOURS, MARKERS, draw
from tests.bench.results import make_result

NAMES = ["latency-gap.svg", "latency-candidates.svg", "latency-history.svg", "throughput.svg"]


def test_equal_results_give_equal_bytes(tmp_path: Path) -> None:
    first, second = (draw(make_result(), tmp_path / name) for name in ("a", "b"))
    assert [path.name for path in first] == NAMES
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_pictures_are_svg_on_white_with_every_text_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plots._STYLE, "svg.fonttype", "none")  # texts as texts, to read them here
    texts = {}
    for path in draw(make_result(), tmp_path):
        root = ElementTree.parse(path).getroot()
        assert root.tag.endswith("svg")
        texts[path.name] = " ".join(element.text or "" for element in root.iter() if element.tag.endswith("text"))
        assert "#ffffff" in path.read_text(encoding="utf-8")
    for wanted in ("100 candidates", "1,000 candidates", "4.0 s", "25.0 ms  (160×)", "2.5 ms  (1,600×)", "100 s"):
        assert wanted in texts["latency-gap.svg"]
    for wanted in ("12,000", "one caller", "log scale", "cross-encoder int8", "item segments"):
        assert wanted in texts["latency-candidates.svg"]
    assert "2,000" in texts["latency-history.svg"]
    assert "0.25 a second" in texts["throughput.svg"]
    for text in texts.values():
        assert "2 cores of a processor" in text


def test_only_what_was_measured_is_drawn(tmp_path: Path) -> None:
    result = make_result()
    del result["throughput"], result["histories"]
    result["single"] = [
        entry for entry in result["single"] if entry["candidates"] == 100 and "int8" not in entry["path"]
    ]
    assert [path.name for path in draw(result, tmp_path)] == NAMES[:2]
    assert draw({"single": []}, tmp_path / "none") == []


def test_paths_differ_in_colour_and_in_marker() -> None:
    assert len(set(COLOURS.values())) == len(set(MARKERS.values())) == len(COLOURS)


def test_drawing_leaves_the_settings_of_others_alone(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    draw(make_result(), tmp_path)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("value", "label"),
    [(2.345, "2.3 ms"), (99.94, "99.9 ms"), (123.4, "123 ms"), (4_321.0, "4.3 s"), (83_210.0, "83 s")],
)
def test_labels_are_in_the_unit_that_fits(value: float, label: str) -> None:
    assert plots.in_ms(value) == label
