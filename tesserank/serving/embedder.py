"""Users' contexts → segments → token vectors: from the index, from the cache, or from the encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tesserank.artifact.bundle import open_segments, open_template
from tesserank.artifact.layout import Layout
from tesserank.encoding.batch import BUCKETS, Encode, EncoderRows, encode_composed
from tesserank.encoding.template import Composed, Template
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.index import ItemIndex, load_index
from tesserank.limits import Limits
from tesserank.segments.config import SegmentsConfig
from tesserank.serving.lookup import ARRAYS, TokenForm, TokenRows, join_arrays
from tesserank.serving.plan import Encoded, LookedUp, Moment, SegmentPlanner, Source, UserPlan
from tesserank.serving.request import UserContext
from tesserank.serving.segments import SegmentBatch, SpaceTokens, UserSegments

if TYPE_CHECKING:
    from typing_extensions import Self

Vectors = dict[bytes, Any]  # of encoded segments, by key: arrays, or tensors of a device (see device_embedder)


@dataclass
class EmbeddedUsers:
    """The answer of the embedder: each user's segments, and counts for the client, each [B]."""

    segments: list[UserSegments]
    dim: int  # of the widest space
    limits: Limits
    unknown: list[int]
    truncated: list[int]
    hits: list[int]
    misses: list[int]

    @cached_property
    def batch(self) -> SegmentBatch:
        """The segments as padded arrays. Raises LimitExceededError if they take too many bytes."""
        return SegmentBatch.stack(self.segments, self.dim, self.limits)


@dataclass
class PlannedUsers:
    """Users whose segments are known and whose vectors may still have to be encoded: those of ``missing``, by key."""

    plans: list[UserPlan]
    vectors: Vectors = field(default_factory=dict)
    missing: dict[bytes, Composed] = field(default_factory=dict)
    hits: list[int] = field(default_factory=list)
    misses: list[int] = field(default_factory=list)


class Cache(Protocol):
    """Where encoded segments are kept: ``SegmentCache``, or ``TieredCache`` of a GPU."""

    def get(self, key: bytes) -> Any: ...

    def peek(self, key: bytes) -> Any: ...

    def put(self, key: bytes, vectors: Any) -> None: ...


class SegmentEmbedder:
    """Embeds the segments of users. ``encode`` runs the encoder, whose calls ``rows`` describes; in ``form`` the scorer
    takes token vectors.

    ``embed`` does it at once; ``plan``, ``encode`` and ``finish`` are its three steps, for callers that encode what
    several requests miss together, or aside. All may be called from several threads.
    """

    def __init__(
        self,
        index: ItemIndex,
        config: SegmentsConfig,
        template: Template,
        tokenize: Callable[[str], list[int]],
        cache: Cache,
        encode: Encode,
        rows: EncoderRows = BUCKETS,
        form: TokenForm = ARRAYS,
    ) -> None:
        self.index = index
        self.config = config
        self._template = template
        self._cache = cache
        self._encode = encode
        self._rows = rows
        self._join_tokens = form.join
        self._lookups = {name: form.lookup(index.spaces[name]) for name in config.history.spaces}
        self._planner = SegmentPlanner(index, config, template, tokenize, self._lookups)

    @classmethod
    def open(
        cls,
        root: Path,
        cache: Cache,
        encode: Encode,
        rows: EncoderRows = BUCKETS,
        index: ItemIndex | None = None,
        form: TokenForm = ARRAYS,
    ) -> Self:
        """The embedder of an artefact, or of its parts tokenizer and index; ``index`` if that is loaded already.

        Raises ArtifactError or ConfigError if they are not usable.
        """
        index = load_index(Layout(root).index) if index is None else index
        tokenizer = TextTokenizer(Layout(root).tokenizer)
        return cls(index, open_segments(root, index), open_template(root), tokenizer, cache, encode, rows, form)

    def embed(self, contexts: Sequence[UserContext]) -> EmbeddedUsers:
        """Embed the segments of B users, encoding each distinct segment that is not cached once.

        Raises a RequestError naming the user's row if any context cannot be used; nothing is encoded then.
        """
        users = self.plan(contexts)
        self.encode([users])
        return self.finish(users)

    def plan(self, contexts: Sequence[UserContext]) -> PlannedUsers:
        """Cut, tokenise, and look in the cache. Raises a RequestError naming the user's row."""
        users = PlannedUsers([self._planner.plan(context, row) for row, context in enumerate(contexts)])
        for plan in users.plans:
            encoded = plan.encoded()
            for source in encoded:
                self._look_up(source, users)
            misses = sum(source.key in users.missing for source in encoded)
            users.misses.append(misses)
            users.hits.append(len(encoded) - misses)
        return users

    def _look_up(self, source: Encoded, users: PlannedUsers) -> None:
        if source.key in users.vectors or source.key in users.missing:
            return
        cached = self._cache.get(source.key)
        if cached is None:
            users.missing[source.key] = source.composed
        else:
            users.vectors[source.key] = cached

    def encode(self, requests: Sequence[PlannedUsers]) -> None:
        """Encode what the users of several requests miss, each distinct segment once, and cache it."""
        missing = {key: composed for users in requests for key, composed in users.missing.items()}
        # What was missing when it was looked up may have been encoded for someone else since.
        found = {key: cached for key in missing if (cached := self._cache.peek(key)) is not None}
        missing = {key: composed for key, composed in missing.items() if key not in found}
        vectors = self._encode_composed(list(missing.values()))
        for key, encoded in zip(missing, vectors, strict=True):
            self._cache.put(key, encoded)
            found[key] = encoded
        for users in requests:
            users.vectors.update({key: found[key] for key in users.missing})

    def _encode_composed(self, inputs: Sequence[Composed]) -> Sequence[Any]:
        return encode_composed(inputs, self._template, self._encode, self._rows)

    def finish(self, users: PlannedUsers) -> EmbeddedUsers:
        """The segments of users nothing of whom is missing any more."""
        return EmbeddedUsers(
            segments=[self._segments(plan, users.vectors) for plan in users.plans],
            dim=self.index.dim,
            limits=self.config.limits,
            unknown=[plan.unknown for plan in users.plans],
            truncated=[plan.truncated for plan in users.plans],
            hits=users.hits,
            misses=users.misses,
        )

    def _segments(self, plan: UserPlan, vectors: Vectors) -> UserSegments:
        return UserSegments(
            labels=tuple(plan.labels),
            channels=np.array(plan.channels, dtype=np.int32),
            weights=np.array(plan.weights, dtype=np.float32),
            spaces={name: self._space_tokens(name, sources, vectors) for name, sources in plan.spaces.items()},
        )

    def _space_tokens(self, space: str, sources: Sequence[tuple[int, Source]], vectors: Vectors) -> SpaceTokens:
        parts = [self._token_rows(space, source, vectors) for _, source in sources]
        unit_lengths = join_arrays([part.unit_lengths for part in parts])
        segment_units = join_arrays([part.segment_units for part in parts])
        return SpaceTokens.weighted(
            segments=join_arrays([np.arange(first, first + len(source)) for first, source in sources]),
            tokens=self._join_tokens([part.tokens for part in parts]),
            weights=join_arrays([part.weights for part in parts]),
            starts=np.cumsum(unit_lengths) - unit_lengths,
            unit_segment=np.repeat(np.arange(len(segment_units)), segment_units),
        )

    def _token_rows(self, space: str, source: Source, vectors: Vectors) -> TokenRows:
        by_item = self.config.aggregation.group_by_item
        if isinstance(source, LookedUp):
            return self._lookups[space].tokens(source.rows, source.counts, by_item)
        if isinstance(source, Moment):
            return self._lookups[space].tokens(np.array([source.row]), np.array([1]), by_item)
        composed = source.composed
        units = np.bincount(composed.groups) if by_item else np.array([len(composed.groups)])
        return TokenRows(
            vectors[source.key], self.index.token_weights[composed.kept_ids], units, np.array([len(units)])
        )
