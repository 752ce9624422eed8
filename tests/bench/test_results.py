"""What a result looks like on disk, and where it goes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesserank_bench.results import QUICK_RESULTS, RESULTS, deliver, result_path, save
from tesserank_evaluation.conditions import Machine

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def arguments(**changes: object) -> argparse.Namespace:
    return argparse.Namespace(**({"quick": False, "json": False, "seed": 0, "out": None} | changes))


@given(value=st.dictionaries(st.text(), VALUES))
def test_a_saved_result_reads_back_as_it_was(
    value: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    save(path, value)
    assert json.loads(path.read_text(encoding="utf-8")) == value


def test_a_list_of_numbers_is_one_line(tmp_path: Path) -> None:
    save(tmp_path / "r.json", {"samples_ms": [1.5, 2.25, None], "names": ["[  1 ]", "b"], "deep": [{"x": [1, 2]}]})
    lines = (tmp_path / "r.json").read_text(encoding="utf-8").splitlines()
    assert '  "[  1 ]",' in lines
    assert ' "samples_ms": [1.5, 2.25, null]' in lines
    assert '   "x": [1, 2]' in lines


def test_a_quick_result_never_goes_where_those_for_the_record_lie() -> None:
    assert result_path(arguments(), "latency-cpu") == RESULTS / "latency-cpu.json"
    assert result_path(arguments(quick=True), "latency-cpu") == QUICK_RESULTS / "latency-cpu.json"
    assert result_path(arguments(out=Path("x.json")), "latency-cpu") == Path("x.json")
    assert RESULTS.is_dir()
    assert RESULTS not in (Path.cwd() / QUICK_RESULTS).parents


def test_json_is_the_last_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = deliver(arguments(json=True, out=tmp_path / "sub" / "r.json"), "r", {"figure": 1.5})
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"written: {path}", '{"figure": 1.5}']
    assert json.loads(path.read_text(encoding="utf-8")) == {"figure": 1.5}


def test_conditions_say_what_was_measured_on(tmp_path: Path) -> None:
    machine = Machine(seed=7, threads={"encoder": 2})
    found = machine.conditions()
    assert found["seed"] == 7
    assert found["threads"]["encoder"] == 2
    assert found["cores"] >= 1
    assert found["memory_gib"] > 0
    assert found["versions"]["numpy"].startswith("1.")
    assert found["blas"]["built_with"]
    assert {"commit", "instruction_sets", "load_before", "load_after", "steal_share", "date"} <= set(found)
    assert 0 <= found["steal_share"] <= 1
    save(tmp_path / "c.json", found)  # all of it is JSON
