"""What every contestant is: something to prepare, to run many times, and to answer once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank_bench.kernels.task import Task, top_items

Arrays = Mapping[str, NDArray[Any]]


class Contestant(ABC):
    """Made with the options that its class takes; preparing is part of no figure but its own, ``prepare_s``."""

    @abstractmethod
    def run(self, turn: int) -> Any:
        """What is timed; ``turn`` counts the calls."""

    def answer(self) -> Arrays:
        """What it computes, for comparison."""
        return {}

    def threads(self) -> AbstractContextManager[Any]:
        """Holds the libraries in use to the contestant's threads while it runs."""
        return nullcontext()


class Scorer(Contestant):
    """Scores every item of a task. ``rank``: what is timed ends with the best items of each segment."""

    def __init__(self, task: Path, threads: int, rank: bool) -> None:
        self.task = Task.load(task)
        self.thread_count = threads
        self._rank = rank

    @abstractmethod
    def score(self, user: int) -> NDArray[np.floating[Any]]:
        """Scores [n, K] of a user's segments."""

    def run(self, turn: int) -> Any:
        scores = self.score(turn % self.task.users)
        return top_items(scores) if self._rank else scores

    def answer(self) -> Arrays:
        """``scores`` [U, n, K] and ``top`` [U, K, TOP], rows of items."""
        scores = np.stack([np.asarray(self.score(user)) for user in range(self.task.users)])
        return {"scores": scores, "top": np.stack([top_items(part) for part in scores])}


class Searcher(Contestant):
    """Finds the best items of a task without scoring all of them, or without saying so."""

    def __init__(self, task: Path, threads: int) -> None:
        self.task = Task.load(task)
        self.thread_count = threads

    @abstractmethod
    def search(self, user: int) -> NDArray[np.int64]:
        """Rows of items [K, TOP] for a user's segments, best first; -1 where fewer were found."""

    def run(self, turn: int) -> Any:
        return self.search(turn % self.task.users)

    def answer(self) -> Arrays:
        """``top`` [U, K, TOP]."""
        return {"top": np.stack([self.search(user) for user in range(self.task.users)])}
