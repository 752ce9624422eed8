"""The export's last part: what a pruned search needs, and what share of the exact answer it finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from tesserank.artifact.layout import INDEX_PART, Layout
from tesserank.encoding.cache import SegmentCache
from tesserank.encoding.engine import OnnxEngine
from tesserank.encoding.template import Template
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.errors import EmptyRequestError
from tesserank.files import link_or_copy
from tesserank.index import ItemIndex, load_index
from tesserank.search.fitting import fit_stand_in
from tesserank.search.proposer import StandInProposer
from tesserank.search.recall import DEPTHS, Recall, measure_recall
from tesserank.search.record import SearchRecord
from tesserank.search.standins import load_stand_ins
from tesserank.segments.config import SegmentsConfig
from tesserank.serving.embedder import SegmentEmbedder
from tesserank.serving.request import RankingOptions, Text, UserContext
from tesserank.serving.scorer import SegmentScorer
from tesserank.serving.segments import UserSegments
from tesserank_export.catalog import Catalog
from tesserank_export.events import Events
from tesserank_export.options import ExportOptions
from tesserank_export.steps import Steps, digest_of_code

QUERIES = 64  # of each kind; 640 items of exact top 10s: a recall of 0.98 is known to about ± 0.005
_KINDS_OF_CODE = ("search", "segments", "serving")  # of tesserank's own what these steps run, beside what all do
_CACHE_BYTES = 64 << 20
_SHARE_OF_WORDS = 0.5  # of an item's text that make a query


@dataclass(frozen=True)
class Parts:
    """The directories of the parts that queries need: step directories that hold a part each."""

    tokenizer: Path
    encoder: Path
    index: Path


class SearchSteps:
    """Steps that add to the part index, if the segments file has the catalogue searched pruned."""

    def __init__(
        self, options: ExportOptions, steps: Steps, config: SegmentsConfig, template: Template, parts: Parts
    ) -> None:
        self._options = options
        self._steps = steps
        self._template = template
        self._parts = parts
        self._index = load_index(parts.index)
        self._config = config.in_spaces(self._index.spaces)

    def search(self, catalog: Catalog, events: Events | None) -> Path | None:
        """What to add to the part index, in a directory of that name; None if the search is exhaustive."""
        config = self._config.search
        if not config.prunes(len(catalog)):
            self._steps.say(f"search: exhaustive ({len(catalog):,} items)")
            return None
        code = digest_of_code(_KINDS_OF_CODE)
        content = [self._parts.index.parent.name, self._options.seed, code]
        stand_ins = self._steps.run("stand-ins", "search: stand-ins for the vectors", content, self._fit)
        content += [self._parts.encoder.parent.name, self._options.precision, repr(self._config), config.candidates]
        content += [self._options.log_identity()]

        def build(scratch: Path) -> None:
            for path in sorted((stand_ins / INDEX_PART).rglob("*.npy")):
                link_or_copy(path, scratch / path.relative_to(stand_ins))
            self._measure(scratch / INDEX_PART, catalog, events)

        step = self._steps.run("search", "search: recall of the exact answer", content, build)
        self._report(SearchRecord.load(step / INDEX_PART))
        return step / INDEX_PART

    def _fit(self, scratch: Path) -> None:
        for name, space in self._index.spaces.items():
            fit_stand_in(space, self._options.seed, self._options.threads).save(scratch / INDEX_PART / name)

    def _measure(self, directory: Path, catalog: Catalog, events: Events | None) -> None:
        """Write the record into ``directory``, which holds the stand-ins."""
        index, config, threads = self._index, self._config, self._options.threads
        stand_ins = load_stand_ins(directory, index)
        proposer = StandInProposer.threaded(index, config, stand_ins, config.search.candidates, threads)
        exhaustive = SegmentScorer.threaded(index, config, threads)
        pruned = SegmentScorer.threaded(index, config, threads, proposer)
        top_k = min(max(DEPTHS), config.limits.max_top_k, len(index))
        recall: dict[str, Recall] = {}
        with threadpool_limits(1, "blas"):
            for kind, contexts in self._queries(catalog, events).items():
                users, options = self._embedded(contexts, top_k)
                if users:
                    recall[kind] = measure_recall(exhaustive, pruned, users, options)
        SearchRecord(
            index_id=index.index_id,
            seed=self._options.seed,
            candidates=config.search.candidates,
            stand_ins={name: str(own) for name, own in stand_ins.items()},
            bytes=sum(path.stat().st_size for path in directory.rglob("*.npy")),
            recall=recall,
        ).save(directory)

    def _queries(self, catalog: Catalog, events: Events | None) -> dict[str, list[UserContext]]:
        """Contexts to search for, by kind: histories, as a live server would get them, and texts."""
        rng = np.random.default_rng(self._options.seed)
        queries: dict[str, list[UserContext]] = {}
        if any(space.weight > 0 for space in self._config.history.spaces.values()):
            if events is None:
                queries["random histories"] = list(_random_histories(self._index, self._config, rng))
            else:
                queries["histories"] = list(_histories(events, self._index, self._config, rng))
        texts = [name for name, text in self._config.texts.items() if text.weight > 0]
        if texts:
            queries["texts"] = list(_texts(catalog, texts[0], rng))
        return queries

    def _embedded(self, contexts: list[UserContext], top_k: int) -> tuple[list[UserSegments], list[RankingOptions]]:
        """The contexts' segments and what to ask for; a context that gives no segment is left out."""
        options = self._options
        engine = OnnxEngine.for_precision(
            Layout(self._parts.encoder.parent).encoder(options.precision), options.precision, options.threads
        )
        tokenizer = TextTokenizer(Layout(self._parts.tokenizer.parent).tokenizer)
        embedder = SegmentEmbedder(
            self._index, self._config, self._template, tokenizer, SegmentCache(_CACHE_BYTES), engine
        )
        users, asked = [], []
        for context in contexts:
            try:
                users += embedder.embed([context]).segments
            except EmptyRequestError:
                continue
            asked.append(RankingOptions(history=context.item_ids, top_k=top_k))
        return users, asked

    def _report(self, record: SearchRecord) -> None:
        for kind, recall in record.recall.items():
            found = ", ".join(
                f"{value:.3f} of the exact top {depth}"
                for depth, value in zip(DEPTHS, (recall.at_10, recall.at_100), strict=True)
            )
            self._steps.say(f"  {kind}: {found} ({recall.queries} queries, {record.candidates:,} items scored exactly)")
        stand_ins = ", ".join(f"{what} of space {name}" for name, what in record.stand_ins.items())
        self._steps.say(f"  looked at first: {stand_ins}; {record.bytes:,} bytes")
        if shortfall := record.shortfall(self._config.search.min_recall):
            self._steps.say(f"  a server will refuse to start: {shortfall}")


def _histories(
    events: Events, index: ItemIndex, config: SegmentsConfig, rng: np.random.Generator
) -> Iterator[UserContext]:
    """Histories of users drawn at random, each without its last event: what was known before it."""
    lengths = np.diff(events.offsets)
    eligible = np.flatnonzero(lengths > 1)
    for user in np.sort(rng.permutation(eligible)[:QUERIES]):
        last = int(events.offsets[user + 1]) - 1
        first = max(int(events.offsets[user]), last - config.limits.max_history_events)
        yield UserContext(
            item_ids=[index.item_ids[row].encode() for row in events.item[first:last]],
            timestamps=events.timestamp[first:last],
            kinds=[events.kinds[kind] for kind in events.kind[first:last]],
            timestamp=int(events.timestamp[last]) if events.has_times else None,
        )


def _random_histories(index: ItemIndex, config: SegmentsConfig, rng: np.random.Generator) -> Iterator[UserContext]:
    """Histories of items drawn at random, of one item to as many as are used, seconds apart."""
    for _ in range(QUERIES):
        length = int(rng.integers(1, config.history.max_events + 1))
        rows = rng.integers(len(index), size=length)
        yield UserContext([index.item_ids[row].encode() for row in rows], timestamps=list(range(length)))


def _texts(catalog: Catalog, name: str, rng: np.random.Generator) -> Iterator[UserContext]:
    """Texts as somebody might ask for an item: about half of its words, in their order."""
    eligible = np.flatnonzero([bool(text) for text in catalog.texts])
    for row in np.sort(rng.permutation(eligible)[:QUERIES]):
        words = np.array(catalog.texts[row].split() or [catalog.texts[row]])
        kept = rng.random(len(words)) < _SHARE_OF_WORDS
        kept[rng.integers(len(words))] = True
        yield UserContext(texts=[Text(name, " ".join(words[kept]))])
