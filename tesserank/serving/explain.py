"""Why an item has its score: which segments it came from, and which pairs of tokens.

A score is made of token similarities by maxima, weighted sums and aggregation. The contribution of a pair of tokens is
its similarity times the derivative of the score with respect to it:

    scale · weight · ∂s/∂y_k · ∂y_k/∂u_g · w_t · max_j <q_t, d_j>

For ``sum`` that is all of the score. A soft maximum has two parts more: what any item gets, similar or not (the score
of similarities 0), and what it loses because the parts are unequal, τ times their relative entropy. With those

    score = baseline + Σ pairs + concentration

exactly (docs/explanations.md). All of it is computed in float64 by the readable reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.artifact.layout import Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.encoding.cache import SegmentCache
from tesserank.encoding.engine import OnnxEngine
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.maxsim import aggregate, reference
from tesserank.serving.embedder import SegmentEmbedder
from tesserank.serving.interaction import LateInteraction
from tesserank.serving.request import RankingOptions, UserContext
from tesserank.serving.scorer import SegmentScorer
from tesserank.serving.segments import SpaceTokens, UserSegments
from tesserank.serving.wording import Vocabulary, Wording


@dataclass(frozen=True)
class TokenPair:
    """A token of a segment and the item's token that is most similar to it. ``contribution`` = share · similarity."""

    segment: int  # position among the explanation's segments
    segment_token: str
    item_token: str
    similarity: float
    share: float  # the derivative of the score with respect to the similarity
    contribution: float


@dataclass(frozen=True)
class SegmentPart:
    """A segment's part in a score. ``score`` and ``contribution`` are the server's SEGMENT_SCORES and
    SEGMENT_CONTRIBUTIONS; ``matches`` is what its token pairs contribute."""

    label: str
    text: str
    weight: float
    score: float
    contribution: float
    matches: float


@dataclass(frozen=True)
class Explanation:
    """One item's score. ``segments`` are in the server's order; ``pairs`` come largest contribution first."""

    item_id: str
    item_text: str
    score: float
    baseline: float  # the score of an item that is similar to nothing: the same for every item
    segments: Sequence[SegmentPart]
    pairs: Sequence[TokenPair]

    @cached_property
    def matches(self) -> float:
        """What all token pairs contribute."""
        return sum(segment.matches for segment in self.segments)

    @property
    def concentration(self) -> float:
        """What a soft maximum takes off because the parts of the score are unequal; 0 for ``sum``."""
        return self.score - self.baseline - self.matches


class Explainer:
    """Explains the scores of one artefact's items."""

    def __init__(self, embedder: SegmentEmbedder, vocabulary: Vocabulary) -> None:
        index, config = embedder.index, embedder.config
        self.index = index
        self._embedder = embedder
        self._config = config
        self._wording = Wording(index, vocabulary)
        self._interaction = LateInteraction(index, config, reference.unit_scores, aggregate.aggregate)
        self._without_matches = LateInteraction(index, config, _no_similarity, aggregate.aggregate)

    @classmethod
    def open(cls, artifact: Path, threads: int = 1) -> Explainer:
        """Of a whole artefact, with the encoder as it is served. Raises ArtifactError or ConfigError."""
        layout, precision = Layout(artifact), load_manifest(artifact, []).precision
        encoder = OnnxEngine.for_precision(layout.encoder(precision), precision, threads)
        embedder = SegmentEmbedder.open(artifact, SegmentCache(0), encoder)
        return cls(embedder, TextTokenizer(layout.tokenizer))

    def explain(self, context: UserContext, options: RankingOptions) -> list[Explanation]:
        """Explanations of the items that a server would answer with, best first.

        Raises a RequestError if the context or an option cannot be used.
        """
        users = self._embedder.plan([context])
        self._embedder.encode([users])
        user, plan = self._embedder.finish(users).segments[0], users.plans[0]
        # The ranking is the fast path's, as in the server; what is said about it, the reference's.
        rows = SegmentScorer(self.index, self._config).rank([user], [options])[0].rows
        words = {name: self._wording.segment_tokens(plan, name, tokens.heard) for name, tokens in user.spaces.items()}
        texts = self._wording.segments(plan)
        return [self._explain_row(user, int(row), texts, words) for row in rows]

    def _explain_row(
        self, user: UserSegments, row: int, texts: Sequence[str], words: dict[str, list[str]]
    ) -> Explanation:
        rows = np.array([row])
        interaction = self._interaction
        spaces, channels = interaction.in_spaces(user, rows), interaction.channels(user)
        scores, contributions = interaction.explained(user, channels, spaces)
        pairs: list[TokenPair] = []
        for name, tokens in user.spaces.items():
            pairs += self._pairs(name, tokens, self._segment_shares(user, name, spaces[name].scores), row, words[name])
        matches = np.zeros(len(user))
        np.add.at(matches, [pair.segment for pair in pairs], [pair.contribution for pair in pairs])
        return Explanation(
            item_id=self.index.item_ids[row],
            item_text=self._wording.item(row),
            score=float(interaction.of_channels(channels, spaces)[0]),
            baseline=float(self._without_matches.scores(user, rows)[0]),
            segments=[
                SegmentPart(label, text, float(weight), float(score), float(contribution), float(matched))
                for label, text, weight, score, contribution, matched in zip(
                    user.labels, texts, user.weights, scores[0], contributions[0], matches, strict=True
                )
            ],
            pairs=sorted(pairs, key=lambda pair: -abs(pair.contribution)),
        )

    def _segment_shares(self, user: UserSegments, space: str, scores: NDArray[Any]) -> NDArray[np.float64]:
        """The derivative of the score with respect to each segment score of a space: ``scores`` [1, S] -> [S]."""
        shares = np.zeros(scores.shape[1])
        method = self._config.aggregation.method
        for channel in self._interaction.channels(user):
            if channel.space == space:
                own = scores[:, channel.columns]
                slopes = aggregate.derivatives(own, channel.weights, method, channel.temperature)[0]
                shares[channel.columns] = channel.scale * slopes
        return shares

    def _pairs(
        self, space: str, tokens: SpaceTokens, segment_shares: NDArray[np.float64], row: int, words: Sequence[str]
    ) -> list[TokenPair]:
        """Each token of a space's segments with its best match in the item."""
        item_words = self._wording.item_tokens(row, space)
        similarities = tokens.tokens.astype(np.float64) @ self._interaction.items[space].item(row).T.astype(np.float64)
        best = similarities.argmax(axis=1)
        largest = similarities.max(axis=1)
        segment_of_token = tokens.unit_segment[tokens.units]
        shares = (segment_shares[tokens.unit_segment] * self._unit_shares(space, tokens, largest))[tokens.units]
        shares = shares * tokens.token_weights
        return [
            TokenPair(int(segment), word, item_words[match], float(similarity), float(share), float(share * similarity))
            for segment, word, match, similarity, share in zip(
                tokens.segments[segment_of_token], words, best, largest, shares, strict=True
            )
        ]

    def _unit_shares(self, space: str, tokens: SpaceTokens, largest: NDArray[np.float64]) -> NDArray[np.float64]:
        """The derivative of each unit's segment score with respect to the unit's: [G]."""
        units = np.add.reduceat(tokens.token_weights * largest, tokens.starts)
        shares = np.empty_like(units)
        method, temperature = self._config.aggregation.method, self._interaction.temperature(space)
        for segment in range(len(tokens.segments)):
            own = tokens.unit_segment == segment
            ones = np.ones(np.count_nonzero(own))
            if len(ones) == 1:
                shares[own] = 1.0  # nothing to aggregate
            else:
                shares[own] = aggregate.derivatives(units[own][None], ones, method, temperature)[0]
        return shares


def _no_similarity(
    tokens: NDArray[Any], weights: NDArray[Any], starts: NDArray[np.int64], items: Any, rows: NDArray[np.int64] | None
) -> NDArray[np.float64]:
    """Unit scores of items that are similar to nothing."""
    return np.zeros((len(items) if rows is None else len(rows), len(starts)))
