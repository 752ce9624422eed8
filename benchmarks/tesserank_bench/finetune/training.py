"""Steps of fine-tuning, resumable: a step draws all that is random by its number, so what was cut off is run again.

The loss of an example is the cross-entropy of the item that came next among its negatives: Gao, Dai and Callan,
Rethink training of BERT rerankers in multi-stage retrieval pipeline, ECIR 2021 (localized contrastive estimation).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tesserank.encoding.template import Template, pad_rows
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.serving.cross import compose_pair
from tesserank_bench.finetune.examples import Example, Examples
from tesserank_bench.finetune.network import CrossEncoder
from tesserank_evaluation.reranking.contender import CANDIDATES
from tesserank_evaluation.reranking.pairs import history_text
from tesserank_evaluation.states import load_state, save_state

SAVED_EVERY_S = 30.0

Clock = Callable[[], float]  # seconds


@dataclass(frozen=True)
class Recipe:
    """``rate``: AdamW's, reached after ``warm_up`` steps; ``users`` examples a step, ``negatives`` in each of them.

    ``depth``: of late interaction's best items negatives are, as many as will be re-ranked. ``pair_tokens``: a longer
    pair loses its oldest tokens, in training and ever after. ``bf16``: products of matrices in bfloat16.
    """

    rate: float = 5e-5
    warm_up: int = 30
    weight_decay: float = 0.01
    users: int = 8
    negatives: int = 5
    depth: int = CANDIDATES
    pair_tokens: int = 64
    bf16: bool = False


class Pairs:
    """Examples as the network's input, in batches of one example: its rows differ in the item alone."""

    def __init__(self, texts: Sequence[str], tokenizer: TextTokenizer, template: Template) -> None:
        self._texts, self._tokenizer, self._template = texts, tokenizer, template

    def of(self, example: Example) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids and mask, int64 [items, L]."""
        history = self._tokenizer(history_text(example.history.items, self._texts))
        items = [self._tokenizer(self._texts[row]) for row in example.items.tolist()]
        rows = [compose_pair(self._template, history, item) for item in items]
        return pad_rows(rows, max(map(len, rows)), self._template.pad)


class FineTuner:
    """Trains ``network``. What ``file`` holds of an earlier run is taken over.

    ``losses`` are those of the steps so far, ``seconds`` what these took, all processes together. Raises ArtifactError
    if the file cannot be read.
    """

    def __init__(
        self,
        network: CrossEncoder,
        examples: Examples,
        pairs: Pairs,
        recipe: Recipe,
        seed: int,
        file: Path,
        clock: Clock,
    ) -> None:
        self._network, self._examples, self._pairs, self._recipe = network, examples, pairs, recipe
        self._seed, self._file, self._clock = seed, file, clock
        self.losses, self.seconds = list[float](), 0.0
        self._optimizer = torch.optim.AdamW(network.parameters(), recipe.rate, weight_decay=recipe.weight_decay)
        if file.exists():
            state = load_state(file, network=network, optimizer=self._optimizer)
            self.losses, self.seconds = state["losses"], state["seconds"]

    def run(self, budget_s: float, advance: Callable[[], None]) -> None:
        """Steps until all of them together took ``budget_s``; saved now and then, and at the end."""
        saved_at = started = self._clock()
        before = self.seconds
        while self.seconds < budget_s:
            self.losses.append(self._step(len(self.losses)))
            now = self._clock()
            self.seconds = before + now - started
            if now - saved_at >= SAVED_EVERY_S or self.seconds >= budget_s:
                self._save()
                saved_at = now
            advance()

    def _step(self, number: int) -> float:
        """The mean loss of the step's examples, in nats."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.rate * min(1.0, (number + 1) / self._recipe.warm_up)
        examples = self._examples.of_step(number)
        total = 0.0
        self._network.train()
        self._optimizer.zero_grad()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.default_rng([number, self._seed]).integers(2**31)))  # dropout's
            for example in examples:
                ids, mask = self._pairs.of(example)
                with torch.autocast("cpu", torch.bfloat16, enabled=self._recipe.bf16):
                    scores = self._network(torch.from_numpy(ids), torch.from_numpy(mask))
                loss = -torch.log_softmax(scores.float(), dim=0)[0] / len(examples)
                loss.backward()
                total += float(loss.detach())
        self._optimizer.step()
        return total

    def _save(self) -> None:
        parts = {"network": self._network.state_dict(), "optimizer": self._optimizer.state_dict()}
        save_state(self._file, parts | {"losses": self.losses, "seconds": self.seconds})
