"""The export's steps between encoder and index: the catalogue encoded, and what an event log says of its tokens."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tesserank.artifact.layout import Layout
from tesserank.encoding.batch import Encode
from tesserank.encoding.engine import OnnxEngine
from tesserank.encoding.template import Template
from tesserank.files import read_json
from tesserank.segments.config import RELEVANCE
from tesserank_export import text_space
from tesserank_export.events import Events
from tesserank_export.heads import Projection
from tesserank_export.options import ExportOptions
from tesserank_export.relevance import NO_PAIRS, neighbours, relevant_components, sampled
from tesserank_export.steps import Steps, digest_of
from tesserank_export.text_space import Texts, TokenIds

_COMPONENTS, _WEIGHTS = "components.npz", "weights.npy"


class TextSteps:
    """Steps that encode a catalogue. ``vocabulary``: one above the largest token id."""

    def __init__(
        self, options: ExportOptions, steps: Steps, template: Template, items: TokenIds, vocabulary: int
    ) -> None:
        self._options = options
        self._steps = steps
        self._template = template
        self._items = items
        self._vocabulary = vocabulary
        self._encoded: dict[Path, Texts] = {}

    def encode(self, encoder: Path) -> Texts:
        """The catalogue by an encoder, a directory that is its part.

        A shard at a time: an interrupted export goes on at the shard it was in. The fit, the projection and the index
        all ask for it, mostly of one encoder.
        """
        if encoder not in self._encoded:
            dim = read_json(Layout(encoder.parent).encoder_meta)["dim"]
            engine = self._engine(encoder)
            shards = self._shards(encoder, engine)
            self._encoded[encoder] = Texts(self._items, self._vocabulary, dim, shards, self._template, engine)
        return self._encoded[encoder]

    def _engine(self, encoder: Path) -> Encode:
        """Opened when it is asked first: what was kept needs none."""

        @cache
        def opened() -> OnnxEngine:
            precision = self._options.precision
            return OnnxEngine.for_precision(Layout(encoder.parent).encoder(precision), precision, self._options.threads)

        return lambda ids, mask: opened()(ids, mask)

    def _shards(self, encoder: Path, engine: Encode) -> list[Path]:
        shards = []
        starts = range(0, len(self._items), text_space.SHARD_ITEMS)
        for number, start in enumerate(starts, 1):
            shard = self._items[start : start + text_space.SHARD_ITEMS]

            def build(scratch: Path, shard: TokenIds = shard) -> None:
                text_space.encode_shard(shard, self._template, engine, scratch / "vectors.npy")

            title = f"text space: items {start + 1:,} to {start + len(shard):,} of {len(self._items):,}"
            step = self._steps.run("text", f"{title} ({number}/{len(starts)})", [encoder.parent.name, shard], build)
            shards.append(step / "vectors.npy")
        return shards

    def token_weights(self, kind: str, events: Events | None) -> NDArray[np.float32]:
        """What every token id weighs, float32 [vocabulary]; ``kind`` is ``items.token_weights``."""
        log = self._options.log_identity() if kind == RELEVANCE else None
        if kind == RELEVANCE and events is None:
            self._steps.say("no events, so token weights by relevance are inverse document frequencies")

        def build(scratch: Path) -> None:
            pairs = NO_PAIRS if events is None else neighbours(events)
            np.save(scratch / _WEIGHTS, text_space.token_weights(kind, self._items, self._vocabulary, pairs))

        inputs = [kind, log, digest_of(self._items), self._vocabulary]
        step = self._steps.run("token-weights", f"token weights: {kind}", inputs, build)
        weights: NDArray[np.float32] = np.load(step / _WEIGHTS)
        return weights

    def adapted(self, projection: Projection, texts: Texts, events: Events | None) -> Projection:
        """``projection``, by which ``texts`` were encoded, followed by the relevant components of the log."""
        if events is None:
            self._steps.say("no events, so the projection to token vectors stays the encoder's")
            return projection

        def build(scratch: Path) -> None:
            pairs = sampled(neighbours(events), self._options.seed)
            components = relevant_components(texts.tokens(), texts.offsets, pairs)
            np.savez(scratch / _COMPONENTS, components=components, pairs=len(pairs))

        inputs = [self._options.log_identity(), self._options.seed, texts.identity]
        step = self._steps.run("components", "projection: relevant components of the log", inputs, build)
        with np.load(step / _COMPONENTS) as saved:
            components, pairs = saved["components"], int(saved["pairs"])
        return replace(
            projection,
            weight=np.ascontiguousarray(projection.weight @ components.T),
            bias=projection.bias @ components.T,
            source=f"{projection.source}; relevant components of {pairs:,} pairs of items",
        )
