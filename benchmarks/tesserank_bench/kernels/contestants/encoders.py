"""The encoder's graph in onnxruntime, as one would run it without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tesserank.encoding.template import pad_rows
from tesserank.protocol import SEGMENT_ENCODER
from tesserank_bench.kernels.contestants.base import Arrays, Contestant

_IDS, _MASK = (tensor.name for tensor in SEGMENT_ENCODER.inputs)


class OnnxRuntime(Contestant):
    """Texts in order of their lengths, ``batch`` at a time, padded to the longest of each batch.

    ``inputs``: a file of ``ids`` int64 [T] and ``offsets`` [texts + 1], special tokens included. ``spinning``: threads
    wait for work actively, onnxruntime's own default.
    """

    def __init__(self, graph: Path, inputs: Path, threads: int, batch: int, spinning: bool, pad: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        with np.load(inputs) as arrays:
            rows = np.split(arrays["ids"], arrays["offsets"][1:-1])
        self._order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
        chunks = [self._order[start : start + batch] for start in range(0, len(rows), batch)]
        self._lengths = [len(row) for row in rows]
        self._batches = [pad_rows([rows[i] for i in chunk], len(rows[chunk[-1]]), pad) for chunk in chunks]

    def run(self, turn: int) -> Any:
        return [self._session.run(None, {_IDS: ids, _MASK: mask})[0] for ids, mask in self._batches]

    def answer(self) -> Arrays:
        """``vectors`` float32 [T, d], in the order of ``ids``."""
        outputs = [row for batch in self.run(0) for row in batch]
        by_text: dict[int, NDArray[np.float32]] = dict(zip(self._order, outputs, strict=True))
        return {"vectors": np.concatenate([by_text[i][:length] for i, length in enumerate(self._lengths)])}
