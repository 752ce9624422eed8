"""The export from end to end: every step named, in order, each resumable, the artefact published at the very end."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from tesserank.artifact.layout import Layout
from tesserank.encoding.template import Template
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.errors import DataError
from tesserank.segments.config import RELEVANT_COMPONENTS, SegmentsConfig
from tesserank.segments.reader import load_segments
from tesserank_export.catalog import Catalog, read_catalog
from tesserank_export.checkpoint import Checkpoint, resolve_checkpoint
from tesserank_export.encoder_steps import EncoderSteps
from tesserank_export.events import Events, read_events
from tesserank_export.fit.steps import FitStep
from tesserank_export.heads import Projection
from tesserank_export.heldout import HeldOut, hold_out_last
from tesserank_export.index_steps import IndexSteps
from tesserank_export.leftovers import swept
from tesserank_export.options import PLAIN, TENSORRT, TORCH, ExportOptions
from tesserank_export.publish import publish_artifact
from tesserank_export.search_steps import Parts, SearchSteps
from tesserank_export.steps import Steps, library_versions
from tesserank_export.text_space import Texts
from tesserank_export.text_steps import TextSteps


class Export:
    """One export. ``run`` returns the directory of the published artefact; ``steps.seconds`` tells what it cost."""

    def __init__(self, options: ExportOptions, console: Console) -> None:
        self._options = options
        self.steps = Steps(options.work, console)
        self._config = load_segments(options.segments) if options.segments else SegmentsConfig()
        self._text = self._segments_text()
        self._held_out: HeldOut | None = None
        self.fitted: dict[str, Any] | None = None  # the record of the fit, if there was one

    def run(self) -> Path:
        """Raises DataError, ConfigError, ArtifactError or ParityError; the published artefact is then what it was."""
        catalog = self._read_catalog()
        events = self._read_events(catalog)
        checkpoint = resolve_checkpoint(self._options.model)
        self.steps.say(f"checkpoint: {checkpoint.name} ({checkpoint.digest})")
        with swept(self._options.work, self._options.store):
            return self._build(catalog, events, checkpoint)

    def _build(self, catalog: Catalog, events: Events | None, checkpoint: Checkpoint) -> Path:
        options = self._options
        encoders = EncoderSteps(options, self.steps, checkpoint)
        tokenizer_part = encoders.tokenizer()
        tokenizer = TextTokenizer(Layout(tokenizer_part.parent).tokenizer)
        items, truncated = self._tokenise(catalog, tokenizer, encoders.template)
        backbone = encoders.backbone()
        projection = encoders.projection(backbone, items)
        encoder_part = encoders.encoder(backbone, projection, tokenizer_part)
        text_steps = TextSteps(options, self.steps, encoders.template, items, tokenizer.vocabulary_size)
        if events is not None and options.fit:
            # An encoder that cannot be served is not worth a fit's minutes; of relevant components another is served.
            if self._config.items.projection != RELEVANT_COMPONENTS:
                encoders.parity(projection, encoder_part, items)
            self._fit(text_steps.encode(encoder_part), catalog, events)
        if self._config.items.projection == RELEVANT_COMPONENTS:
            projection = text_steps.adapted(projection, text_steps.encode(encoder_part), events)
            encoder_part = encoders.encoder(backbone, projection, tokenizer_part)
        makers: dict[str, Callable[[Projection, Path], Path]] = {
            TORCH: encoders.torch_engine,
            PLAIN: encoders.plain,
            TENSORRT: partial(encoders.plan, items=items),
        }
        engines = {engine: makers[engine](projection, backbone) for engine in options.engines}
        parity = encoders.parity(projection, encoder_part, items, engines)
        cross_encoder_part = encoders.cross_encoder(backbone)
        texts = text_steps.encode(encoder_part)
        token_weights = text_steps.token_weights(self._config.items.token_weights, events)
        indexes = IndexSteps(options, self.steps, self._config, encoder_part)
        index_part = indexes.index(catalog, events, texts, token_weights)
        search_parts = Parts(tokenizer_part, encoder_part, index_part)
        search = SearchSteps(options, self.steps, self._config, encoders.template, search_parts)
        searched = search.search(catalog, events)
        return publish_artifact(
            store=options.store,
            parts=(
                tokenizer_part,
                encoder_part,
                cross_encoder_part,
                index_part,
                *engines.values(),
                *([searched] if searched else []),
            ),
            name=self._config.name,
            segments=self._text,
            precision=options.precision,
            parity=parity | {"index": indexes.parity},
            provenance=self._provenance(catalog, events, checkpoint, projection, truncated),
        )

    def _fit(self, texts: Texts, catalog: Catalog, events: Events) -> None:
        """From here on the configuration is what fits the log."""
        fitted = FitStep(self._options, self.steps, self._config, self._text, texts, catalog.item_ids).fit(events)
        self._config, self._text, self.fitted = fitted.config, fitted.text, fitted.record

    def _read_catalog(self) -> Catalog:
        options = self._options
        catalog = read_catalog(options.catalog, options.id_field, options.text_field, options.category_field)
        kinds = len({*catalog.categories} - {""}) if catalog.categories else 0
        self.steps.say(f"catalogue: {len(catalog):,} items, {catalog.empty_texts:,} without text; {kinds:,} categories")
        return catalog

    def _read_events(self, catalog: Catalog) -> Events | None:
        options = self._options
        if options.events is None:
            self.steps.say("events: none given, so there is no collaborative space")
            return None
        events = read_events(options.events, catalog, options.event_fields, options.unknown_events)
        skipped = f"{events.unknown_items:,} with unknown items skipped"
        self.steps.say(f"events: {len(events):,} of {len(events.users):,} users; {skipped}")
        if options.hold_out is None:
            return events
        self._held_out = hold_out_last(events, 0, options.seed, options.hold_out)
        kept, users = self._held_out.train, self._held_out.hidden
        self.steps.say(f"events: {len(kept):,} kept, {options.hold_out}: {users:,} users' last new items are held out")
        return kept

    def _tokenise(self, catalog: Catalog, tokenizer: TextTokenizer, template: Template) -> tuple[list[list[int]], int]:
        """Token ids of every item, at most ``items.token_limit``; and how many tokens that left out."""
        limit = min(self._config.items.token_limit, template.room(1))
        ids = tokenizer.many(catalog.texts)
        if not any(ids):
            raise DataError(
                f"none of the {len(catalog):,} items of {self._options.catalog} has a text: see --text-field"
            )
        truncated = sum(max(len(item) - limit, 0) for item in ids)
        kept = sum(map(len, ids)) - truncated
        self.steps.say(f"tokens: {kept:,}; {truncated:,} beyond items.token_limit = {limit} left out")
        return [item[:limit] for item in ids], truncated

    def _segments_text(self) -> str:
        if self._options.segments:
            return self._options.segments.read_text(encoding="utf-8")
        return f"name = {json.dumps(self._config.name)}\n"

    def _provenance(
        self, catalog: Catalog, events: Events | None, checkpoint: Checkpoint, projection: Projection, truncated: int
    ) -> dict[str, Any]:
        options = self._options
        interactions: dict[str, Any] | None = None
        if events is not None:
            interactions = {
                "events": len(events),
                "users": len(events.users),
                "unknown_items": events.unknown_items,
            }
            if self._held_out is not None:
                interactions["held_out"] = {
                    "protocol": options.hold_out,
                    "users": self._held_out.hidden,
                    "train_sha256": self._held_out.digest,
                }
        return {
            "model": {"name": checkpoint.name, "digest": checkpoint.digest, "projection": projection.source},
            "catalog": {
                "items": len(catalog),
                "sha256": catalog.sha256,
                "empty_texts": catalog.empty_texts,
                "truncated_tokens": truncated,
            },
            "events": interactions,
            "settings": {
                "dim": projection.weight.shape[1],
                "collaborative_dim": options.collaborative_dim,
                "engines": list(options.engines),
                "seed": options.seed,
            },
            "fit": self.fitted,
            "tolerances": {name: asdict(tolerance) for name, tolerance in options.tolerances.items()},
            "versions": {"python": platform.python_version(), **library_versions()},
        }
