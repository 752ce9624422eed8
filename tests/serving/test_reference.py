"""What is served is what the float64 reference says, and what is looked up is what would be encoded."""

from __future__ import annotations

from typing import Any

import numpy as np

from tesserank.maxsim.vectors import SteppedVectors
from tesserank_client import Request
from tests.serving.pipeline import Offline, Served, Shop

FLOAT32_HALF_STEP = 2.0**-24


def segment_score_tolerance(offline: Offline) -> float:
    """The dot product of unit vectors of d dimensions in float32 is off by at most d half steps (Higham 2002, §3.1).

    Token weights add up to 1, so the mean over tokens is off by no more; doubled for that mean's own roundings. Before
    that, every component of the query, times the step of its dimension, is rounded to half of 1 / 32,767 (or what sums
    of 32 bits leave room for) of the largest of them, which is at most the largest step, and then multiplied by a
    code. (The reference does not round.)
    """
    rounding = 0.0
    for space in offline.index.spaces.values():
        assert isinstance(space.items, SteppedVectors)
        codes = np.abs(space.items.codes.astype(np.int64)).sum(axis=1).max()
        query_peak = min(32_767, (2**31 - 1) // (space.items.peak * space.items.dim))  # sums must fit 32 bits
        rounding = max(rounding, 0.5 * float(space.items.scale.max()) / query_peak * float(codes))
    return rounding + 2 * 64 * FLOAT32_HALF_STEP


def quantisation(offline: Offline) -> float:
    """How far the index's text vectors may lie from what was encoded: half a step in every dimension."""
    items = offline.index.spaces["text"].items
    assert isinstance(items, SteppedVectors)
    return 0.5 * float(np.linalg.norm(items.scale))


def score_tolerance(offline: Offline, largest: float) -> float:
    """A score changes by at most ``weight * scale`` of its channel for a change of 1 in segment scores.

    That holds for the soft maximum, whose derivatives by the segments add up to 1 (for ``sum`` they add up to the
    weights). The logarithm and the sum over channels round a few times more.
    """
    assert offline.config.aggregation.method == "softmax"
    channels = offline.config.channels()
    slope = sum(channel.weight * offline.index.spaces[channel.space].scale for channel in channels)
    return slope * segment_score_tolerance(offline) + 16 * FLOAT32_HALF_STEP * largest


def test_served_answers_equal_the_float64_reference(served: Served, shop: Shop) -> None:
    with served.client() as client:
        for name, request in shop.requests().items():
            answer, expected = client.recommend_many([request])[0], served.offline.recommend(request)
            assert list(answer.item_ids) == expected.item_ids, name
            assert len(answer.item_ids) == 10
            assert list(answer.segments) == expected.labels, name
            tolerance = score_tolerance(served.offline, float(np.abs(expected.scores).max()))
            np.testing.assert_allclose(answer.scores, expected.scores, rtol=0, atol=tolerance, err_msg=name)
            np.testing.assert_allclose(
                answer.segment_scores,
                expected.segment_scores,
                rtol=0,
                atol=segment_score_tolerance(served.offline),
                err_msg=name,
            )
            # a share is the score times a softmax probability, whose exponent moves by 1 / temperature as much
            moved = tolerance * (1 + np.abs(expected.scores).max() / served.offline.config.aggregation.temperature)
            np.testing.assert_allclose(answer.contributions, expected.contributions, rtol=0, atol=moved, err_msg=name)


def test_the_tolerance_is_far_below_the_distance_of_neighbours_in_the_ranking(by_item: Served, shop: Shop) -> None:
    answers = [by_item.offline.recommend(request) for request in shop.requests().values()]
    gaps = np.concatenate([-np.diff(answer.scores) for answer in answers])
    largest = max(float(np.abs(answer.scores).max()) for answer in answers)
    assert score_tolerance(by_item.offline, largest) < np.median(gaps) / 10


def test_an_items_text_sent_as_a_text_scores_like_the_item_looked_up_in_the_index(by_item: Served, shop: Shop) -> None:
    everything: dict[str, Any] = {"candidates": shop.item_ids, "top_k": len(shop.item_ids)}
    with by_item.client() as client:
        for item in shop.item_ids[:3]:
            encoded = client.recommend(texts={"query": shop.texts[item]}, **everything)
            looked_up = client.recommend(history=[item], **everything)
            column = looked_up.segments.index(f"history/text:{item}")
            by_lookup = dict(zip(looked_up.item_ids, looked_up.segment_scores[:, column], strict=True))
            expected = [by_lookup[other] for other in encoded.item_ids]
            # A looked-up query token is off by the index's quantisation, so its product with a unit vector by at most
            # that, and so is the mean over tokens.
            tolerance = quantisation(by_item.offline) + segment_score_tolerance(by_item.offline)
            np.testing.assert_allclose(encoded.segment_scores[:, 0], expected, rtol=0, atol=tolerance)
            assert encoded.item_ids[0] == item, "nothing is more like an item than itself"


def test_sessions_and_content_segments_go_through_the_encoder_and_items_do_not(
    by_item: Served, encoding: Served, shop: Shop
) -> None:
    request = Request(history=shop.history(3))
    with by_item.client() as client:
        looked_up = client.recommend_many([request])[0]
    with encoding.client() as client:
        encoded = client.recommend_many([request])[0]
    assert (looked_up.cache_hits, looked_up.cache_misses) == (0, 0)
    blocks = [label for label in encoded.segments if label.startswith("history/text:")]
    assert encoded.cache_hits + encoded.cache_misses == len(blocks)
    assert any("+" in label for label in blocks), "a segment of several items"
