"""The baseline on the same engine: token ids of (history, item) pairs → their scores, by PyTorch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tesserank.artifact.layout import Layout
from tesserank.devices import AUTO
from tesserank.encoding.pytorch.files import Facts, load_pair_encoder
from tesserank.encoding.pytorch.packing import Packed
from tesserank.encoding.pytorch.runner import Form, Runner


class TorchPairs:
    """Ids and mask, int64 [rows, L] -> scores float32 [rows]: the same backbone, packing and graphs as TorchEngine."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    @classmethod
    def open(cls, layout: Layout, device: str = AUTO, dtype: str = AUTO, compiler: str = "") -> TorchPairs:
        """The pair encoder of an artefact's encoder part. Raises as ``TorchEngine.open`` does."""
        facts = Facts.read(layout)
        form = Form.choose(facts, device, dtype)
        encoder = load_pair_encoder(layout, facts, form.dtype, form.packs).to(form.device)
        return cls(Runner(encoder, facts, form, compiler))

    def __call__(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Raises InvalidArgumentError for ids or lengths that the model has no row of an embedding for."""
        real = attention_mask != 0
        self._runner.check(input_ids[real], input_ids.shape[1])
        with self._runner.alone():
            if self._runner.form.packs:
                found = self._runner.packed(Packed.of(input_ids, attention_mask))[: len(input_ids)]
            else:
                found = self._runner.padded(input_ids, real)
            scores: NDArray[np.float32] = found.cpu().numpy()
        return scores
