"""Embedding on a GPU, in the scorer's own process: what is encoded stays there, from the encoder to the scores.

The encoder's output goes into the segment cache as it is, and from there into the queries of MaxSim.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tesserank.encoding.batch import EncoderRows
from tesserank.encoding.batching import MOST_ROWS, EncoderCounts
from tesserank.encoding.engines import TORCH, EngineSettings, open_engine
from tesserank.encoding.pytorch.engine import TorchEngine
from tesserank.encoding.pytorch.placement import PinnedPlacement
from tesserank.encoding.template import Composed
from tesserank.encoding.tiers import TieredCache
from tesserank.errors import ConfigError
from tesserank.serving import stages
from tesserank.serving.device_scorer import DeviceScorer
from tesserank.serving.embedder import SegmentEmbedder
from tesserank.serving.ranker import SegmentRanker
from tesserank.serving.stages import StageClock


class MeasuredEngine:
    """An engine, each call of which is a run of the stage ``encode``: of its launch, as nothing waits for a GPU."""

    def __init__(self, engine: TorchEngine, clock: StageClock) -> None:
        self._engine = engine
        self._clock = clock
        self._counts = EncoderCounts()
        self._lock = threading.Lock()

    def __call__(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._engine(input_ids, attention_mask)

    def encode_rows(self, rows: Sequence[NDArray[np.int64]]) -> list[torch.Tensor]:
        """See ``TorchEngine``."""
        with self._clock.measure(stages.ENCODE):
            vectors = self._engine.encode_rows(rows)
        lengths = [len(row) for row in rows]
        with self._lock:
            self._counts = self._counts.plus(lengths, self._engine.batching.size(sum(lengths), max(lengths), len(rows)))
        return vectors

    def counts(self) -> EncoderCounts:
        """The totals so far, consistent."""
        with self._lock:
            return self._counts


class DeviceEmbedder(SegmentEmbedder):
    """A ``SegmentEmbedder`` whose ``encode`` is a MeasuredEngine, and its cache one of tensors."""

    def _encode_composed(self, inputs: Sequence[Composed]) -> Sequence[torch.Tensor]:
        """The kept vectors of each input, [n, d], each in memory of its own: the cache counts and frees them alone."""
        assert isinstance(self._encode, MeasuredEngine)
        kept: list[torch.Tensor] = []
        for start in range(0, len(inputs), self._rows.most):
            chunk = inputs[start : start + self._rows.most]
            vectors = self._encode.encode_rows([composed.input_ids for composed in chunk])
            kept += [_taken(own, composed.kept) for own, composed in zip(vectors, chunk, strict=True)]
        return kept


@dataclass(frozen=True)
class DeviceRanker:
    """The request path in one process, on one device."""

    ranker: SegmentRanker
    cache: TieredCache
    engine: MeasuredEngine


def open_device_ranker(
    root: Path,
    settings: EngineSettings,
    device_cache_bytes: int,
    host_cache_bytes: int,
    encoder_rows: int = MOST_ROWS,
    clock: StageClock | None = None,
) -> DeviceRanker:
    """The ranker of an artefact, or of its parts tokenizer, index and encoder, warmed up.

    Raises ArtifactError or ConfigError if they, or the device, are not usable.
    """
    if settings.engine != TORCH:
        raise ConfigError(f"an encoder in the ranker's process must be of the engine {TORCH}, not {settings.engine}")
    clock = clock or StageClock()
    engine = open_engine(root, "fp32", settings)
    assert isinstance(engine, TorchEngine)
    measured = MeasuredEngine(engine, clock)
    cache = TieredCache(device_cache_bytes, host_cache_bytes, PinnedPlacement(engine.device))
    rows = EncoderRows(encoder_rows, mixed_lengths=True)
    embedder = DeviceEmbedder.open(root, cache, measured, rows, form=DeviceScorer.form)
    scorer = DeviceScorer(embedder.index, embedder.config, str(engine.device))
    scorer.warm_up()
    return DeviceRanker(SegmentRanker(embedder, scorer, clock), cache, measured)


def _taken(vectors: torch.Tensor, places: NDArray[np.int64]) -> torch.Tensor:
    """Rows of ``vectors``, copied. Those of a single part lie together, which needs no positions on the device."""
    begin, end = int(places[0]), int(places[-1]) + 1
    if end - begin == len(places):
        return vectors[begin:end].clone()
    return vectors[torch.from_numpy(places).to(vectors.device)]
