"""What trackers get: TensorBoard's files as written and read back, and the calls that Weights & Biases documents."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from tesserank.errors import ConfigError
from tesserank.tracking import Run, tracked
from tests.core.tensorboard import read_run


def log(run: Run) -> None:
    run.params({"artifact": "0a1b", "seed": 3, "held_out": None})
    run.metrics({"fit/ndcg@10": 0.25, "fit/taken": 1.0}, 0)
    run.metrics({"fit/ndcg@10": 0.5}, 1)
    run.table("fit/steps", ["step", "NDCG@10"], [["a | b", 0.25], ["c", None]])


def test_tensorboard_has_every_figure_at_its_step_and_tables_as_markdown(tmp_path: Path) -> None:
    with tracked([f"tensorboard:{tmp_path}"], "fit") as run:
        log(run)
    [directory] = tmp_path.iterdir()
    assert re.fullmatch(r"fit-\d{8}T\d{6}", directory.name)
    found = read_run(directory)
    assert found.scalars == {"fit/ndcg_at_10": {0: 0.25, 1: 0.5}, "fit/taken": {0: 1.0}}
    assert found.texts["params"].splitlines() == [
        "| param | value |", "|---|---|", "| artifact | 0a1b |", "| seed | 3 |", "| held_out |  |",
    ]  # fmt: skip
    assert found.texts["fit/steps"].splitlines()[2:] == [r"| a \| b | 0.25 |", "| c |  |"]


def test_runs_of_the_same_second_have_directories_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.strftime", lambda form: "20261126T000000")
    for seed in range(3):
        with tracked([f"tensorboard:{tmp_path}"], "evaluate") as run:
            run.metrics({"ndcg@10": float(seed)}, 0)
    names = ["evaluate-20261126T000000", "evaluate-20261126T000000-2", "evaluate-20261126T000000-3"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert [read_run(tmp_path / name).scalars["ndcg_at_10"][0] for name in names] == [0.0, 1.0, 2.0]


class FakeWandb(types.ModuleType):
    """``init`` and ``Table`` as https://docs.wandb.ai/ref/python has them; what they got is kept."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.config: dict[str, Any] = {}
        self.calls: list[Any] = []
        self.step = 0

    def init(self, **settings: Any) -> FakeWandb:
        self.calls.append(("init", settings))
        return self

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        assert step is None or step >= self.step, "wandb drops what comes for a step that is over"
        self.step = self.step + 1 if step is None else step
        self.calls.append(("log", values, step))

    def Table(self, columns: list[str], data: list[list[Any]]) -> tuple[str, list[str], list[list[Any]]]:
        return "table", columns, data

    def __enter__(self) -> FakeWandb:
        return self

    def __exit__(self, *error: object) -> None:
        self.calls.append(("finish", error[0]))


def test_weights_and_biases_gets_config_history_and_tables_and_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    with tracked(["wandb:beauty"], "fit") as run:
        log(run)
    assert fake.config == {"artifact": "0a1b", "seed": 3, "held_out": None}
    assert fake.calls == [
        ("init", {"project": "beauty", "job_type": "fit"}),
        ("log", {"fit/ndcg_at_10": 0.25, "fit/taken": 1.0}, 0),
        ("log", {"fit/ndcg_at_10": 0.5}, 1),
        ("log", {"fit/steps": ("table", ["step", "NDCG@10"], [["a | b", 0.25], ["c", None]])}, None),
        ("finish", None),
    ]


def test_a_run_that_fails_is_said_to_have_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    with pytest.raises(ConfigError), tracked(["wandb:beauty"], "fit"):
        raise ConfigError("no such catalogue")
    assert fake.calls[-1] == ("finish", ConfigError)


def test_several_trackers_get_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    with tracked([f"tensorboard:{tmp_path}", "wandb:beauty"], "fit") as run:
        log(run)
    [directory] = tmp_path.iterdir()
    assert read_run(directory).scalars["fit/taken"] == {0: 1.0}
    assert len(fake.calls) == 5


def test_without_targets_nothing_is_imported_or_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with tracked([], "fit") as run:
        log(run)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["mlflow:x", "tensorboard", "wandb:", "tensorboard:", ""])
def test_a_target_that_is_none_is_refused_with_those_there_are(target: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"--track {target!r}: say tensorboard:DIR or wandb:PROJECT")):
        tracked([target], "fit").__enter__()


@pytest.mark.parametrize(
    ("kind", "module", "extra"), [("tensorboard", "tensorboardX", "tracking"), ("wandb", "wandb", "wandb")]
)
def test_a_missing_extra_is_said_with_the_command_that_installs_it(
    kind: str, module: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    message = f"--track {kind} needs {module}, which is not installed: pip install 'tesserank[{extra}]'"
    with pytest.raises(ConfigError, match=re.escape(message)):
        tracked([f"{kind}:{tmp_path / 'runs'}"], "fit").__enter__()
    assert list(tmp_path.iterdir()) == []
