"""The export's second half: catalogue and events → the item index."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.artifact.layout import Layout
from tesserank.files import read_json, sha256_file, write_json
from tesserank.index import Categories, ItemIndex, Space, save_index
from tesserank.index.storage import FORMAT
from tesserank.maxsim.ragged import Ragged
from tesserank.segments.config import COLLABORATIVE_SPACE, TEXT_SPACE, LearnedConfig, SegmentsConfig
from tesserank_export.catalog import Catalog
from tesserank_export.collaborative import Learned, fit_collaborative, learn
from tesserank_export.events import Events
from tesserank_export.options import ExportOptions
from tesserank_export.parity import Parity, check, compare_index
from tesserank_export.spaces import make_learned_space, one_each
from tesserank_export.steps import Steps, digest_of
from tesserank_export.text_space import Texts, make_text_space

# In the step of a learned space.
_ITEMS, _QUERIES, _MOMENTS, _CHOICE = "vectors.npy", "queries.npy", "moments.npy", "choice.json"


class IndexSteps:
    """Steps that make the part index, for one encoder (a directory that is the encoder part)."""

    def __init__(self, options: ExportOptions, steps: Steps, config: SegmentsConfig, encoder: Path) -> None:
        self._options = options
        self._steps = steps
        self._config = config
        self._encoder = encoder
        self.parity: dict[str, Any] = {}  # by space, once ``index`` is done: stored vectors and those that were encoded

    def index(self, catalog: Catalog, events: Events | None, texts: Texts, token_weights: NDArray[np.float32]) -> Path:
        """The index part. ``token_weights``: float32 [vocabulary]."""
        encoder_id = read_json(Layout(self._encoder.parent).encoder_meta)["encoder_id"]
        learned = {} if events is None else {name: self._learned(name, catalog, events) for name in self._to_learn()}
        inputs = [FORMAT, encoder_id, catalog.sha256, asdict(self._config.items), digest_of(texts.items)]
        # by content: the step's name changes with any code, and the index's identity must not
        inputs += [hashlib.sha256(token_weights.tobytes()).hexdigest()]
        inputs += [{name: _digests(step) for name, step in learned.items()}, catalog.categories]

        def build(scratch: Path) -> None:
            seed = self._options.seed
            text, exact = make_text_space(texts, texts.tokens(), token_weights, self._config.items, seed)
            spaces, compared = {TEXT_SPACE: text}, {TEXT_SPACE: compare_index(exact, text, seed)}
            for name, step in learned.items():
                spaces[name], compared[name] = self._learned_space(name, step)
            write_json(scratch / "parity.json", {name: parity.as_dict() for name, parity in compared.items()})
            narrow = np.uint16 if texts.vocabulary <= 1 << 16 else np.uint32
            index = ItemIndex(
                index_id=digest_of(inputs),
                encoder_id=encoder_id,
                item_ids=catalog.item_ids,
                spaces=spaces,
                tokens=Ragged(np.fromiter(chain.from_iterable(texts.items), dtype=narrow)[:, None], texts.offsets),
                token_weights=token_weights,
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

    def _to_learn(self) -> list[str]:
        return [name for name in self._config.spaces() if name != TEXT_SPACE]

    def _learned(self, name: str, catalog: Catalog, events: Events) -> Path:
        """The vectors of a space that is learned from events, and of its items as segments where these differ."""
        settings = learned_settings(self._config, name, self._options.collaborative_dim)

        def build(scratch: Path) -> None:
            if name == COLLABORATIVE_SPACE:
                self._choose(events, len(catalog), settings.dim, scratch)
                return
            space = learn(name, events, len(catalog), settings, self._options.seed)
            np.save(scratch / _ITEMS, space.items)
            for file, array in ((_QUERIES, space.queries), (_MOMENTS, space.moments)):
                if array is not None:
                    np.save(scratch / file, array)

        inputs = [self._options.log_identity(), catalog.sha256, asdict(settings), self._options.seed]
        step = self._steps.run(name, f"{name} space", inputs, build)
        if name == COLLABORATIVE_SPACE:
            choice = read_json(step / _CHOICE)
            found = ", ".join(f"{method} {value:.4f}" for method, value in choice["heldout_ndcg_at_10"].items())
            self._steps.say(f"  chosen: {choice['method']} (held-out NDCG@10: {found})")
        return step

    def _choose(self, events: Events, n_items: int, dim: int, scratch: Path) -> None:
        def progress(what: str, done: int, total: int) -> None:
            self._steps.say(f"  {what} ({done}/{total})")

        space = fit_collaborative(events, n_items, dim, self._options.seed, progress=progress)
        np.save(scratch / _ITEMS, space.vectors)
        write_json(scratch / _CHOICE, {"method": space.method, "heldout_ndcg_at_10": dict(space.heldout)})

    def _learned_space(self, name: str, step: Path) -> tuple[Space, Parity]:
        """The space of a step of ``_learned``, as stored, and how that compares with what was learned."""
        queries, moments = (np.load(step / file) if (step / file).exists() else None for file in (_QUERIES, _MOMENTS))
        learned = Learned(np.load(step / _ITEMS), queries, moments)
        space = make_learned_space(name, learned, self._kind(name))
        asked = None if queries is None else one_each(queries)
        return space, compare_index(one_each(learned.items), space, self._options.seed, asked)


def learned_settings(config: SegmentsConfig, name: str, dim: int) -> LearnedConfig:
    """How a space is learned; ``dim`` where the segments file says nothing of its dimensions."""
    settings = config.learned.get(name, LearnedConfig())
    return settings if settings.dim else replace(settings, dim=dim)


def stored_kind(space: str, kind: str) -> str:
    """How the vectors of a space are stored where a segments file asks for ``kind``.

    Learned spaces have one vector an item: they can afford finer steps.
    """
    return kind if space == TEXT_SPACE or kind == "float16" else "int16"


def _digests(step: Path) -> Mapping[str, str]:
    return {name: sha256_file(step / name) for name in (_ITEMS, _QUERIES, _MOMENTS) if (step / name).exists()}
