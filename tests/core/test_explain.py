"""Explanations say exactly what a score is made of, whatever the cut, the method and the grouping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tesserank.errors import UnknownItemError
from tesserank.index import ItemIndex
from tesserank.segments.config import SegmentsConfig
from tesserank.serving.explain import Explainer, Explanation
from tesserank.serving.request import RankingOptions, Text, UserContext
from tesserank.serving.scorer import SegmentScorer
from tesserank.serving.segments import UserSegments
from tests.core.world import ITEMS, MOMENTS, TEXTLESS, UNSEEN, CountingEncoder, make_config, make_embedder, make_index

CUTS = ("item", "session", "content")
EXPLAINED = ("i1", "i2", "i5", TEXTLESS, UNSEEN)
ALL = RankingOptions([item.encode() for item in EXPLAINED], top_k=len(EXPLAINED))
# The logarithm of a segment's weight is float32's, as the weight is.
OF_WEIGHTS = 1e-6
contexts = st.builds(
    lambda rows, weights, texts: UserContext(
        item_ids=[ITEMS[row].encode() for row in rows],
        timestamps=[position * 7 for position in range(len(rows))],
        weights=weights[: len(rows)],
        texts=[Text(name, " ".join(map(str, words)), 1.5) for name, words in texts],
    ),
    st.lists(st.integers(0, 11), max_size=9),
    st.lists(st.sampled_from((0.5, 1.0, 3.0)), min_size=9, max_size=9),
    st.lists(
        st.tuples(st.sampled_from(("query", "profile")), st.lists(st.integers(4, 59), min_size=1, max_size=8)),
        min_size=1,
        max_size=3,
    ),
)


class Words:
    """A vocabulary whose tokens are their numbers."""

    def token(self, token_id: int) -> str:
        return f"t{token_id}"

    def text(self, token_ids: Sequence[int]) -> str:
        return " ".join(map(self.token, token_ids))


def explain(config: SegmentsConfig, context: UserContext, index: ItemIndex | None = None) -> list[Explanation]:
    embedder = make_embedder(config, CountingEncoder(), index)
    return Explainer(embedder, Words()).explain(context, ALL)


def embedded(config: SegmentsConfig, context: UserContext) -> UserSegments:
    return make_embedder(config, CountingEncoder()).embed([context]).segments[0]


def soft_maximum(
    user: UserSegments, config: SegmentsConfig, row: int
) -> tuple[float, float, dict[str, NDArray[np.float64]]]:
    """Baseline, concentration, and the share of each space's tokens, by another way than the explainer's.

    A soft maximum of soft maxima is one over all units at once, each with its segment's weight:
    τ·log Σ_kg w_k·exp(u_kg / τ) = τ·log W + Σ p·u − τ·KL(p ‖ w / W).
    """
    baseline = concentration = 0.0
    shares = {}
    for name, space in user.spaces.items():
        tau = config.aggregation.temperature / make_index().spaces[name].scale
        vectors = make_index().spaces[name].items.item(row).astype(np.float64)
        similarities = (space.tokens.astype(np.float64) @ vectors.T).max(axis=1)
        units = np.array([part.sum() for part in np.split(space.token_weights * similarities, space.starts[1:])])
        unit_share = np.zeros(len(units))
        for position, channel in enumerate(config.channels()):
            mine = user.channels[space.segments][space.unit_segment] == position
            if channel.space != name or not mine.any():
                continue
            factor = channel.weight * make_index().spaces[name].scale
            weights = user.weights[space.segments][space.unit_segment][mine].astype(np.float64)
            raw = weights * np.exp(units[mine] / tau)
            p = raw / raw.sum()
            baseline += factor * tau * np.log(weights.sum())
            concentration -= factor * tau * float((p * np.log(p / (weights / weights.sum()))).sum())
            unit_share[mine] = factor * p
        shares[name] = unit_share[space.units] * space.token_weights
    return baseline, concentration, shares


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("by_item", [True, False], ids=["by item", "whole segments"])
@given(context=contexts)
@settings(max_examples=15)
def test_a_soft_maximum_is_its_baseline_its_pairs_and_its_concentration(
    cut: str, by_item: bool, context: UserContext
) -> None:
    config = make_config(cut, "softmax", by_item)
    user = embedded(config, context)
    for explanation in explain(config, context):
        baseline, concentration, shares = soft_maximum(user, config, ITEMS.index(explanation.item_id))
        assert explanation.baseline == pytest.approx(baseline, abs=OF_WEIGHTS)
        assert explanation.concentration == pytest.approx(concentration, abs=OF_WEIGHTS)
        assert sorted(pair.share for pair in explanation.pairs) == pytest.approx(
            sorted(np.concatenate(list(shares.values())).tolist()), abs=OF_WEIGHTS
        )


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("by_item", [True, False], ids=["by item", "whole segments"])
@given(context=contexts)
@settings(max_examples=15)
def test_a_sum_is_its_pairs_alone(cut: str, by_item: bool, context: UserContext) -> None:
    config = make_config(cut, "sum", by_item)
    for explanation in explain(config, context):
        assert explanation.baseline == 0
        assert sum(pair.contribution for pair in explanation.pairs) == pytest.approx(explanation.score, abs=1e-9)
        for part in explanation.segments:
            assert part.matches == pytest.approx(part.contribution, abs=1e-9)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("method", ["sum", "softmax"])
@given(context=contexts)
@settings(max_examples=15)
def test_segments_are_those_of_the_ranking_and_add_up(cut: str, method: str, context: UserContext) -> None:
    config = make_config(cut, method)
    user = embedded(config, context)
    expected = SegmentScorer.reference(make_index(), config).rank([user], [ALL])[0]
    rank = {ITEMS[row]: position for position, row in enumerate(expected.rows)}
    for explanation in explain(config, context):
        at = rank[explanation.item_id]
        assert tuple(part.label for part in explanation.segments) == user.labels
        assert [part.score for part in explanation.segments] == expected.segment_scores[at].tolist()
        assert [part.contribution for part in explanation.segments] == expected.contributions[at].tolist()
        assert explanation.score == expected.scores[at]
        assert sum(part.contribution for part in explanation.segments) == pytest.approx(explanation.score, abs=1e-9)
        of_segments = [0.0] * len(explanation.segments)
        for pair in explanation.pairs:
            assert pair.contribution == pair.share * pair.similarity
            of_segments[pair.segment] += pair.contribution
        assert of_segments == pytest.approx([part.matches for part in explanation.segments], abs=1e-12)


def test_pairs_name_the_tokens_that_matched_largest_first() -> None:
    index, context = make_index(), UserContext([b"i1", b"i2"], texts=[Text("query", "5 6 7")])
    for explanation in explain(make_config(), context):
        row = ITEMS.index(explanation.item_id)
        sizes = [abs(pair.contribution) for pair in explanation.pairs]
        assert sizes == sorted(sizes, reverse=True)
        for label, item in (("history/text:i1", 1), ("history/text:i2", 2)):
            segment = [part.label for part in explanation.segments].index(label)
            found = {
                (pair.segment_token, pair.item_token, round(pair.similarity, 9))
                for pair in explanation.pairs
                if pair.segment == segment
            }
            similarities = index.spaces["text"].items.item(item).astype(np.float64) @ index.spaces["text"].items.item(
                row
            ).T.astype(np.float64)
            theirs = [f"t{token}" for token in index.token_ids(row)] or [TEXTLESS]
            assert found == {
                (f"t{token}", theirs[int(line.argmax())], round(float(line.max()), 9))
                for token, line in zip(index.token_ids(item), similarities, strict=True)
            }
        texts = [part.text for part in explanation.segments if part.label == "query/text"]
        assert texts == ["t5 t6 t7"]
    itself = next(e for e in explain(make_config(), context) if e.item_id == "i1")
    assert itself.pairs[0].similarity == pytest.approx(1, abs=1e-3), "float16"


def test_tokens_without_weight_are_no_pairs_and_leave_the_others_their_names() -> None:
    index = make_index()
    text = index.spaces["text"]
    row = next(row for row in range(len(ITEMS)) if len(index.token_ids(row)) > 2)
    weights = text.weights.copy()
    weights[text.items.offsets[row] + 1] = 0
    silenced = replace(index, spaces={**index.spaces, "text": replace(text, weights=weights)})
    context = UserContext([ITEMS[row].encode()])
    for explanation in explain(make_config(), context, silenced):
        named = [pair.segment_token for pair in explanation.pairs if pair.segment_token.startswith("t")]
        expected = [f"t{token}" for token in index.token_ids(row)]
        del expected[1]
        assert sorted(named) == sorted(expected)


def test_items_without_text_or_events_are_explained_by_what_there_is() -> None:
    context = UserContext([b"i1"], texts=[Text("query", "5 6")])
    by_id = {explanation.item_id: explanation for explanation in explain(make_config(), context)}
    assert by_id[TEXTLESS].item_text == ""
    text_pairs = [pair for pair in by_id[TEXTLESS].pairs if pair.segment_token.startswith("t")]
    assert text_pairs
    assert all((pair.item_token, pair.similarity) == (TEXTLESS, 0) for pair in text_pairs)
    unseen = [pair for pair in by_id[UNSEEN].pairs if pair.segment_token == "i1"]
    assert [(pair.item_token, pair.similarity) for pair in unseen] == [(UNSEEN, 0)]


def test_sessions_name_the_items_that_they_hold() -> None:
    context = UserContext([b"i1", b"i2"], timestamps=[0, 1])
    explanation = explain(make_config("session"), context)[0]
    words = [" ".join(f"t{token}" for token in make_index().token_ids(row)) for row in (1, 2)]
    assert {part.label: part.text for part in explanation.segments} == {
        "history/text:i1+i2": " | ".join(words),
        "history/collaborative:i1+i2": " | ".join(words),
    }


def test_an_unknown_item_cannot_be_explained() -> None:
    explainer = Explainer(make_embedder(make_config(), CountingEncoder()), Words())
    with pytest.raises(UnknownItemError, match="nope"):
        explainer.explain(UserContext([b"i1"]), RankingOptions([b"nope"], reject_unknown=True))


def test_a_moment_is_explained_as_the_time_that_it_is() -> None:
    config = make_config(method="sum", more="[history.spaces]\ncollaborative = 1.0\ntrend = 0.5\n")
    for found in explain(config, UserContext([b"i1", b"i3"], timestamp=MOMENTS[1])):
        assert found.segments[-1].text == "1970-01-01T00:03Z"
        assert found.segments[-1].label == "history/trend:1970-01-01T00:03Z"
        [pair] = [pair for pair in found.pairs if pair.segment == len(found.segments) - 1]
        assert (pair.segment_token, pair.item_token) == ("1970-01-01T00:03Z", found.item_id)
        assert pair.contribution == pytest.approx(found.segments[-1].contribution)
        assert found.matches == pytest.approx(found.score)
