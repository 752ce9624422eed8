"""SASRec as a baseline: as many epochs as held-out items ask for, then as many on the whole log."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tesserank_evaluation.baselines.sasrec.batches import sequences_of, stacked
from tesserank_evaluation.baselines.sasrec.model import Recipe, SasRecNetwork
from tesserank_evaluation.baselines.sasrec.training import Clock, Trainer
from tesserank_evaluation.baselines.tuning import checked
from tesserank_evaluation.recommender import Scores, Training
from tesserank_evaluation.split import History, make_cases
from tesserank_export.heldout import hold_out_last

CHECK_USERS = 4_000  # the best epoch differs from its neighbours by less than a thousand users' standard error
PATIENCE = 5  # epochs without a better one, after which there will be none
_UNCHECKED_EPOCHS = 20  # where no user has items enough to hold one out


@dataclass(frozen=True)
class SasRecOptions:
    """``budget_s``: of training, half of it to find the number of epochs; the whole log then takes as many.

    States of training lie in ``folder`` by what they are of: what was cut off goes on, what is done is taken.
    """

    budget_s: float
    folder: Path
    threads: int
    say: Callable[[str], None] = field(default=lambda line: None, compare=False)
    clock: Clock = time.perf_counter
    recipe: Recipe = field(default_factory=Recipe)


class SasRec:
    """``score_i = h · e_i``, where h is the network's output at the newest item."""

    def __init__(self, network: SasRecNetwork, recipe: Recipe, settings: Mapping[str, Any]) -> None:
        self._network, self._length = network.eval(), recipe.length
        self.settings = settings

    def scores(self, histories: Sequence[History]) -> Scores:
        """See ``Recommender``."""
        rows = stacked([history.items[-self._length :] for history in histories])
        newest = np.count_nonzero(rows >= 0, axis=1) - 1
        with torch.inference_mode():
            hidden = self._network(torch.from_numpy(rows))[np.arange(len(rows)), newest]
            scores: Scores = (hidden @ self._network.items.weight[:-1].T).numpy()
        return scores


def fit_sasrec(training: Training, options: SasRecOptions) -> SasRec:
    """Trained on the log, or taken from where an earlier process left it. Raises ArtifactError for an unusable state.

    The epochs are chosen by the items before the targets, as ``tuning.best_of`` chooses; the targets have left the log.
    """
    events, recipe = training.events, options.recipe
    folder = options.folder / f"sasrec-{_digest(training, recipe)}"
    before = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    try:
        epochs, found = _search(training, options, folder / "search.pt")
        sequences = sequences_of(events, recipe.length)
        trainer = Trainer(sequences, training.n_items, recipe, training.seed, folder / "fit.pt", options.clock)
        while trainer.epochs < epochs:
            loss = trainer.run_epoch()
            options.say(f"  sasrec, the whole log: epoch {trainer.epochs} of {epochs}, loss {loss:.3f}")
    finally:
        torch.set_num_threads(before)
    seconds = {"fit_s": round(trainer.seconds, 1)}
    return SasRec(trainer.network, recipe, asdict(recipe) | {"epochs": epochs} | found | seconds)


def _digest(training: Training, recipe: Recipe) -> str:
    """A hash of what decides each epoch."""
    content = hashlib.sha256()
    events = training.events
    for column in (events.user, events.item, events.timestamp):  # time decides what a protocol holds out
        content.update(column.tobytes())
    content.update(repr((training.n_items, training.seed, training.protocol, recipe)).encode())
    return content.hexdigest()[:16]


def _search(training: Training, options: SasRecOptions, file: Path) -> tuple[int, dict[str, Any]]:
    """The epochs after which held-out items rank best, and what is worth saying of how they were found."""
    if not hold_out_last(training.events, 0, training.seed, training.protocol).eligible:
        return _UNCHECKED_EPOCHS, {"converged": None}
    cases = make_cases(training.events, CHECK_USERS, training.seed, training.protocol)
    sequences = sequences_of(cases.held.train, options.recipe.length)
    trainer = Trainer(sequences, training.n_items, options.recipe, training.seed, file, options.clock)

    def check(network: SasRecNetwork) -> float:
        return checked(SasRec(network, options.recipe, {}), cases, training.n_items)

    while not _converged(trainer.notes) and (not trainer.notes or trainer.seconds < options.budget_s / 2):
        loss = trainer.run_epoch(check)
        found = f"held-out NDCG@10 {trainer.notes[-1]:.4f}"
        options.say(f"  sasrec, search: epoch {trainer.epochs}, loss {loss:.3f}, {found}, {trainer.seconds:.0f} s")
    best = trainer.notes.index(max(trainer.notes))
    return best + 1, {
        "converged": _converged(trainer.notes),
        "held_out_ndcg@10": round(trainer.notes[best], 5),
        "search_epochs": trainer.epochs,
        "search_s": round(trainer.seconds, 1),
        "budget_s": options.budget_s,
    }


def _converged(notes: Sequence[float]) -> bool:
    return bool(notes) and len(notes) - 1 - notes.index(max(notes)) >= PATIENCE
