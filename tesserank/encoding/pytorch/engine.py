"""The engine: token ids → token vectors, by PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tesserank.artifact.layout import Layout
from tesserank.devices import AUTO
from tesserank.encoding.batching import Engine, on_gpu
from tesserank.encoding.pytorch.files import Facts, load_encoder
from tesserank.encoding.pytorch.graphs import Capture
from tesserank.encoding.pytorch.packing import Packed
from tesserank.encoding.pytorch.runner import Form, Runner

WARM_LENGTHS = (32, 64, 128)


class TorchEngine(Engine):
    """Ids and mask, int64 [rows, L] -> float32 [rows, L, d]; 0 where the mask is 0.

    Safe to use from several threads, one of which computes at a time.
    """

    def __init__(self, runner: Runner, dim: int) -> None:
        self.device, self.packs, self.dim = runner.form.device, runner.form.packs, dim
        self.batching = on_gpu(unpadded=self.packs)
        self._runner = runner

    @classmethod
    def open(
        cls, layout: Layout, device: str = AUTO, dtype: str = AUTO, compiler: str = "", capture: Capture | None = None
    ) -> TorchEngine:
        """The engine of an artefact. ``compiler`` and ``capture``: see ``Runner``.

        Raises ArtifactError if the artefact does not hold this engine, ConfigError for a device or type that cannot be.
        """
        facts = Facts.read(layout)
        form = Form.choose(facts, device, dtype)
        encoder = load_encoder(layout, facts, form.dtype, form.packs).to(form.device)
        return cls(Runner(encoder, facts, form, compiler, capture), len(encoder.bias))

    def __call__(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Raises InvalidArgumentError for ids or lengths that the model has no row of an embedding for."""
        real = attention_mask != 0
        self._runner.check(input_ids[real], input_ids.shape[1])
        vectors = np.zeros((*input_ids.shape, self.dim), dtype=np.float32)
        if not real.any():
            return vectors
        with self._runner.alone():
            if self.packs:
                found = self._runner.packed(Packed.of(input_ids, attention_mask))
                vectors[real] = found[: np.count_nonzero(real)].cpu().numpy()
            else:
                found = self._runner.padded(input_ids, real)
                vectors[real] = found[:, : real.shape[1]].cpu().numpy()[real]
        return vectors

    def encode_rows(self, rows: Sequence[NDArray[np.int64]]) -> list[torch.Tensor]:
        """Rows of any lengths, ids int64 [L], in one pass -> each one's vectors float32 [L, d], on the device.

        Raises InvalidArgumentError as a call does.
        """
        packed = Packed.of_rows(rows)
        self._runner.check(packed.ids, packed.longest)
        if not len(packed.ids):
            return [torch.empty((0, self.dim), device=self.device) for _ in rows]
        lengths = np.diff(packed.offsets).tolist()
        with self._runner.alone():
            if self.packs:
                return list(self._runner.packed(packed)[: len(packed.ids)].clone().split(lengths))
            vectors = self._runner.padded(*packed.padded()).clone()
            return [vectors[row, :length] for row, length in enumerate(lengths)]

    def warm_up(self, lengths: Sequence[int] = WARM_LENGTHS) -> None:
        """Capture what calls of rows of these lengths need; see ``Runner``."""
        self._runner.warm_up(lengths)
