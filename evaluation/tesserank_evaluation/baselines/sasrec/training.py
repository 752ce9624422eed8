"""Epochs of SASRec, resumable: what there is after each is written to a file, from which the next process goes on.

An epoch draws from generators of its own, seeded by its number: what was interrupted is run again as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tesserank_evaluation.baselines.sasrec.batches import batches
from tesserank_evaluation.baselines.sasrec.model import Recipe, SasRecNetwork
from tesserank_evaluation.states import load_state, save_state

BETAS = (0.9, 0.98)  # of Adam: Kang and McAuley's

Clock = Callable[[], float]  # seconds


class Trainer:
    """Trains a network on ``sequences``. What ``file`` holds of an earlier run is taken over.

    ``epochs`` is how many there have been, ``seconds`` what they took, all processes together, and ``notes`` what
    ``run_epoch`` was told of each. Raises ArtifactError if the file cannot be read.
    """

    def __init__(
        self,
        sequences: Sequence[NDArray[np.int32]],
        n_items: int,
        recipe: Recipe,
        seed: int,
        file: Path,
        clock: Clock,
    ) -> None:
        self._sequences, self._seed, self._file, self._clock = sequences, seed, file, clock
        self.epochs, self.seconds, self.notes = 0, 0.0, list[float]()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = SasRecNetwork(n_items, recipe)
        self._optimizer = torch.optim.Adam(self.network.parameters(), recipe.rate, BETAS)
        if file.exists():
            self._load()

    def run_epoch(self, check: Callable[[SasRecNetwork], float] | None = None) -> float:
        """One epoch more, saved; the mean loss of an event, in nats. ``check`` notes something of the network after."""
        started = self._clock()
        rng = np.random.default_rng([self._seed, self.epochs])
        total, count = 0.0, 0
        self.network.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))  # dropout's
            for rows, following in batches(self._sequences, rng):
                loss, events = self._step(torch.from_numpy(rows), torch.from_numpy(following))
                total, count = total + loss * events, count + events
        if check is not None:
            self.network.eval()
            self.notes.append(check(self.network))
        self.epochs += 1
        self.seconds += self._clock() - started
        self._save()
        return total / count

    def _step(self, rows: torch.Tensor, following: torch.Tensor) -> tuple[float, int]:
        """The loss is the cross-entropy over the whole catalogue, averaged over the batch's events."""
        hidden = self.network(rows)
        there = following >= 0
        logits = hidden[there] @ self.network.items.weight[:-1].T
        loss = torch.nn.functional.cross_entropy(logits, following[there])
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return loss.item(), int(there.sum())

    def _save(self) -> None:
        state = {"epochs": self.epochs, "seconds": self.seconds, "notes": self.notes}
        parts = {"network": self.network.state_dict(), "optimizer": self._optimizer.state_dict()}
        save_state(self._file, state | parts)

    def _load(self) -> None:
        state = load_state(self._file, network=self.network, optimizer=self._optimizer)
        self.epochs, self.seconds, self.notes = state["epochs"], state["seconds"], state["notes"]
