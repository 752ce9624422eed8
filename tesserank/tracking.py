"""Experiment tracking: what ``fit`` and ``evaluate`` were asked, what they measured, and of which artefact.

``--track tensorboard:DIR`` writes TensorBoard's event files with tensorboardX, a run a directory; ``--track
wandb:PROJECT`` logs to Weights & Biases as its own environment says (``WANDB_MODE=offline`` keeps runs on disk). Both
are optional extras, imported when they are asked for.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from tesserank.errors import ConfigError

Value = str | int | float | bool | None
EXTRAS = {"tensorboard": ("tensorboardX", "tracking"), "wandb": ("wandb", "wandb")}  # module and extra of each


class Run(Protocol):
    """One run of a command, as trackers see it."""

    def params(self, values: Mapping[str, Value]) -> None:
        """What the run was asked, and which artefact it is of; once a run."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Figures of one step, such as ``ndcg@10``; steps ascend from 0."""

    def table(self, name: str, header: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
        """A table of the result."""


def add_tracking_argument(parser: argparse.ArgumentParser) -> None:
    """``--track``, for commands whose runs can be tracked."""
    parser.add_argument(
        "--track", action="append", default=[], metavar="tensorboard:DIR|wandb:PROJECT",
        help="log params, metrics and tables there too; may be repeated (docs/tracking.md)",
    )  # fmt: skip


@contextmanager
def tracked(targets: Sequence[str], command: str) -> Iterator[Run]:
    """A run of a command, tracked by every one of ``targets``; by none if there are none.

    Raises ConfigError for a target that is none, or whose extra is not installed.
    """
    with ExitStack() as stack:
        yield _Runs([stack.enter_context(_opened(target, command)) for target in targets])


@contextmanager
def _opened(target: str, command: str) -> Iterator[Run]:
    kind, _, place = target.partition(":")
    if kind not in EXTRAS or not place:
        raise ConfigError(f"--track {target!r}: say tensorboard:DIR or wandb:PROJECT")
    module, extra = EXTRAS[kind]
    try:
        library = import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--track {kind} needs {error.name}, which is not installed: pip install 'tesserank[{extra}]'"
        ) from error
    if kind == "tensorboard":
        with library.SummaryWriter(str(_new_directory(Path(place), command))) as writer:
            yield _TensorBoard(writer)
    else:
        with library.init(project=place, job_type=command) as run:
            yield _WeightsAndBiases(run, library.Table)


def _new_directory(parent: Path, command: str) -> Path:
    """One that no run has: two runs in one directory would be one curve in TensorBoard."""
    name = f"{command}-{time.strftime('%Y%m%dT%H%M%S')}"
    for number in range(1, 1_000):
        directory = parent / (name if number == 1 else f"{name}-{number}")
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            continue
        return directory
    raise ConfigError(f"--track tensorboard:{parent}: {name} and its like are all taken")


class _TensorBoard:
    """Metrics as scalars; params and tables as text, which TensorBoard shows as Markdown."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def params(self, values: Mapping[str, Value]) -> None:
        self.table("params", ("param", "value"), list(values.items()))

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def table(self, name: str, header: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
        lines = [_line(header), "|" + "---|" * len(header), *map(_line, rows)]
        self._writer.add_text(name, "\n".join(lines))


class _WeightsAndBiases:
    """Params as the run's config, metrics and tables as its history."""

    def __init__(self, run: Any, table: Any) -> None:
        self._run = run
        self._table = table

    def params(self, values: Mapping[str, Value]) -> None:
        self._run.config.update(dict(values))

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def table(self, name: str, header: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
        self._run.log({name: self._table(columns=list(header), data=[list(row) for row in rows])})


class _Runs:
    """Several trackers as one. In names of metrics @ is _at_: tensorboardX would make it _ without a word."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = runs

    def params(self, values: Mapping[str, Value]) -> None:
        for run in self._runs:
            run.params(values)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        named = {name.replace("@", "_at_"): value for name, value in values.items()}
        for run in self._runs:
            run.metrics(named, step)

    def table(self, name: str, header: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
        for run in self._runs:
            run.table(name, header, rows)


def _line(cells: Sequence[Value]) -> str:
    return f"| {' | '.join('' if cell is None else str(cell).replace('|', chr(92) + '|') for cell in cells)} |"
