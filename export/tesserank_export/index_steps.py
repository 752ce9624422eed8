"""The export's second half: catalogue and events → the item index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.artifact.layout import Layout
from tesserank.encoding.engine import OnnxEngine
from tesserank.encoding.template import Template
from tesserank.files import read_json, sha256_file, write_json
from tesserank.index import Categories, ItemIndex, save_index
from tesserank.index.storage import FORMAT
from tesserank.maxsim.ragged import Ragged
from tesserank.segments.config import COLLABORATIVE_SPACE, TEXT_SPACE, SegmentsConfig
from tesserank_export import text_space
from tesserank_export.catalog import Catalog
from tesserank_export.collaborative import fit_collaborative
from tesserank_export.events import Events
from tesserank_export.options import ExportOptions
from tesserank_export.parity import Parity, check, compare_index
from tesserank_export.steps import Steps, digest_of

TokenIds = Sequence[Sequence[int]]


class IndexSteps:
    """Steps that make the part index, for one encoder (a directory that is the encoder part)."""

    def __init__(
        self, options: ExportOptions, steps: Steps, config: SegmentsConfig, template: Template, encoder: Path
    ) -> None:
        self._options = options
        self._steps = steps
        self._config = config
        self._template = template
        self._encoder = encoder
        self.parity: dict[str, Any] = {}  # by space, once ``index`` is done: stored vectors and those that were encoded

    def index(self, catalog: Catalog, events: Events | None, items: TokenIds, vocabulary: int) -> Path:
        """The index part. ``items``: token ids of each item; ``vocabulary``: one above the largest token id."""
        meta = read_json(Layout(self._encoder.parent).encoder_meta)
        shards = self._text_shards(items)
        collaborative = self._collaborative(catalog, events)
        inputs = [FORMAT, meta["encoder_id"], catalog.sha256, asdict(self._config.items), digest_of(items)]
        # by content: the step's name changes with any code, and the index's identity must not
        inputs += [sha256_file(collaborative / "vectors.npy") if collaborative else None, catalog.categories]

        def build(scratch: Path) -> None:
            idf = text_space.inverse_document_frequency(items, vocabulary)
            pooling = self._config.items.pooling_factor
            vectors = {TEXT_SPACE: text_space.text_vectors(items, shards, meta["dim"], idf, pooling)}
            if collaborative:
                vectors[COLLABORATIVE_SPACE] = _one_each(np.load(collaborative / "vectors.npy"))
            spaces = {
                name: text_space.make_space(name, *vectors[name], self._kind(name), self._options.seed, vocabulary)
                for name in vectors
            }
            compared = {
                name: compare_index(vectors[name][0], spaces[name], self._options.seed).as_dict() for name in vectors
            }
            write_json(scratch / "parity.json", compared)
            narrow = np.uint16 if vocabulary <= 1 << 16 else np.uint32
            flat = np.fromiter(chain.from_iterable(items), dtype=narrow)[:, None]
            offsets = np.concatenate([[0], np.cumsum([len(item) for item in items])]).astype(np.int64)
            index = ItemIndex(
                index_id=digest_of(inputs),
                encoder_id=meta["encoder_id"],
                item_ids=catalog.item_ids,
                spaces=spaces,
                tokens=Ragged(flat, offsets),
                idf=idf,
                categories=None if catalog.categories is None else Categories.of(catalog.categories),
            )
            (scratch / "index").mkdir()
            save_index(index, scratch / "index")

        step = self._steps.run("index", "item index", inputs, build)
        self.parity = read_json(step / "parity.json")
        for name, values in self.parity.items():
            self._check_parity(name, Parity(**values))
        return step / "index"

    def _kind(self, space: str) -> str:
        return stored_kind(space, self._config.items.vectors)

    def _check_parity(self, space: str, found: Parity) -> None:
        self._steps.say(
            f"  {space} as {self._kind(space)}: max error {found.max_error:.1e}, "
            f"cosine {found.mean_cosine:.5f}, top-10 agreement {found.top10_agreement:.3f}"
        )
        tolerance = "compact" if self._kind(space) == "compact" else "index"
        check(tolerance, found, self._options.tolerances[tolerance], f"space {space} of the index")

    def _text_shards(self, items: TokenIds) -> list[Path]:
        """Encode the catalogue, a shard at a time: an interrupted export goes on at the shard it was in."""
        engine: OnnxEngine | None = None
        shards = []
        starts = range(0, len(items), text_space.SHARD_ITEMS)
        for number, start in enumerate(starts, 1):
            shard = items[start : start + text_space.SHARD_ITEMS]

            def build(scratch: Path, shard: TokenIds = shard) -> None:
                nonlocal engine
                if engine is None:
                    path = Layout(self._encoder.parent).encoder(self._options.precision)
                    engine = OnnxEngine.for_precision(path, self._options.precision, self._options.threads)
                text_space.encode_shard(shard, self._template, engine, scratch / "vectors.npy")

            title = f"text space: items {start + 1:,} to {start + len(shard):,} of {len(items):,}"
            step = self._steps.run(
                "text", f"{title} ({number}/{len(starts)})", [self._encoder.parent.name, shard], build
            )
            shards.append(step / "vectors.npy")
        return shards

    def _collaborative(self, catalog: Catalog, events: Events | None) -> Path | None:
        if events is None or COLLABORATIVE_SPACE not in self._config.spaces():
            return None

        def build(scratch: Path) -> None:
            def progress(what: str, done: int, total: int) -> None:
                self._steps.say(f"  {what} ({done}/{total})")

            space = fit_collaborative(
                events, len(catalog), self._options.collaborative_dim, self._options.seed, progress=progress
            )
            np.save(scratch / "vectors.npy", space.vectors)
            write_json(scratch / "choice.json", {"method": space.method, "heldout_ndcg_at_10": dict(space.heldout)})

        content = sha256_file(self._options.events) if self._options.events else None
        options = [asdict(self._options.event_fields), self._options.collaborative_dim, self._options.seed]
        options += [self._options.hold_out]
        step = self._steps.run("collaborative", "collaborative space", [content, catalog.sha256, options], build)
        choice = read_json(step / "choice.json")
        found = ", ".join(f"{method} {value:.4f}" for method, value in choice["heldout_ndcg_at_10"].items())
        self._steps.say(f"  chosen: {choice['method']} (held-out NDCG@10: {found})")
        return step


def stored_kind(space: str, kind: str) -> str:
    """How the vectors of a space are stored where a segments file asks for ``kind``.

    The collaborative space has one vector an item: it can afford finer steps.
    """
    return kind if space == TEXT_SPACE or kind == "float16" else "int16"


def _one_each(vectors: NDArray[np.float32]) -> tuple[Ragged, NDArray[np.float32], NDArray[np.int64]]:
    """Every item with one vector of weight 1 and label 0."""
    count = len(vectors)
    offsets = np.arange(count + 1, dtype=np.int64)
    return Ragged(vectors, offsets), np.ones(count, dtype=np.float32), np.zeros(count, dtype=np.int64)
