"""What an answer means: which items may be in it, what its numbers add up to, what its labels name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tesserank_client import Client, Event, Request, Text
from tests.serving.pipeline import PROFILE, QUERIES, Served, Shop

QUERY = {"query": QUERIES[0]}


def test_contributions_add_up_to_the_score(served: Served, shop: Shop) -> None:
    with served.client() as client:
        for request in shop.requests().values():
            answer = client.recommend_many([request])[0]
            assert answer.contributions.shape == (10, len(answer.segments))
            # Sums of some twenty float32 of the score's own size, each rounded to half a step of 2**-24.
            np.testing.assert_allclose(answer.contributions.sum(axis=1), answer.scores, rtol=2e-6, atol=2e-6)


def test_items_come_best_first_and_each_once(served: Served, shop: Shop) -> None:
    request = Request(history=shop.history(0), candidates=[*shop.item_ids[:60], *shop.item_ids[:60]], top_k=60)
    with served.client() as client:
        answer = client.recommend_many([request])[0]
    assert sorted(answer.item_ids) == sorted(shop.item_ids[:60])
    assert np.all(np.diff(answer.scores) <= 0)
    assert [item.score for item in answer.items] == answer.scores.tolist()


def test_candidates_are_ranked_as_they_are_within_the_whole_catalogue(client: Client, shop: Shop) -> None:
    everything = client.recommend(texts=QUERY, top_k=len(shop.item_ids))
    chosen = set(shop.item_ids[::7])
    among_chosen = client.recommend(texts=QUERY, candidates=sorted(chosen), top_k=len(chosen))
    assert among_chosen.item_ids == tuple(item for item in everything.item_ids if item in chosen)


def test_the_history_is_left_out_of_the_whole_catalogue_and_kept_among_candidates(client: Client, shop: Shop) -> None:
    history = [event.item_id for event in shop.history(0)]
    everything: dict[str, Any] = {"history": history, "top_k": len(shop.item_ids)}
    left_out = client.recommend(**everything)
    assert set(left_out.item_ids) == set(shop.item_ids) - set(history)
    kept = client.recommend(**everything, exclude_history=False)
    assert set(kept.item_ids) == set(shop.item_ids)
    candidates = sorted(set(history[-3:]))
    assert sorted(client.recommend(history=history, candidates=candidates).item_ids) == candidates
    assert client.recommend(history=history, candidates=candidates, exclude_history=True).items == ()


def test_events_before_the_window_are_left_out_of_the_answer_too(client: Client, shop: Shop) -> None:
    history = shop.item_ids[:20]
    answer = client.recommend(history=history, top_k=len(shop.item_ids))
    assert len(answer.segments) == 16, "the newest 8 events in both spaces"
    assert not set(answer.item_ids) & set(history)


def test_excluded_items_are_absent_and_the_next_best_take_their_places(client: Client) -> None:
    best = client.recommend(texts=QUERY, top_k=12).item_ids
    answer = client.recommend(texts=QUERY, exclude=[best[0], best[5], "nope"], top_k=10)
    assert answer.item_ids == (*best[1:5], *best[6:12])


def test_only_items_of_the_categories_are_recommended_and_the_best_of_them(client: Client, shop: Shop) -> None:
    everything = client.recommend(texts=QUERY, top_k=len(shop.item_ids))
    wanted = shop.categories[:2]
    answer = client.recommend(texts=QUERY, categories=wanted, top_k=10)
    assert answer.item_ids == tuple(i for i in everything.item_ids if shop.category_of[i] in wanted)[:10]
    candidates = [item for item in shop.item_ids if shop.category_of[item] == wanted[0]][:3] + shop.item_ids[:50]
    among = client.recommend(texts=QUERY, categories=wanted[:1], candidates=candidates, top_k=53)
    assert set(among.item_ids) == {item for item in candidates if shop.category_of[item] == wanted[0]}


def test_users_of_one_request_may_have_different_categories(client: Client, shop: Shop) -> None:
    choices = [shop.categories[:1], shop.categories[1:4]]
    together = client.recommend_many([Request(texts=QUERY, categories=choice) for choice in choices])
    alone = [client.recommend(texts=QUERY, categories=choice) for choice in choices]
    assert [answer.items for answer in together] == [answer.items for answer in alone]


def test_fewer_items_than_asked_for_remain_after_exclusion_as_a_shorter_list(client: Client) -> None:
    candidates = [f"P{1000 + number}" for number in range(5)]
    answer = client.recommend(texts=QUERY, candidates=candidates, exclude=candidates[:2], top_k=5)
    assert sorted(answer.item_ids) == candidates[2:]
    assert answer.scores.shape == (3,)
    assert np.isfinite(answer.scores).all()
    padded, full = client.recommend_many(
        [
            Request(texts=QUERY, candidates=candidates, exclude=candidates[:2], top_k=5),
            Request(texts=QUERY, candidates=candidates, top_k=5),
        ]
    )
    assert padded.items == answer.items
    assert len(full.items) == 5


def test_without_a_k_there_are_ten_items_or_all_candidates(client: Client) -> None:
    assert len(client.recommend(texts=QUERY).items) == 10
    assert len(client.recommend(texts=QUERY, candidates=["P1000", "P1001"]).items) == 2


def test_users_of_one_request_may_ask_for_different_k(client: Client) -> None:
    answers = client.recommend_many([Request(texts=QUERY, top_k=k) for k in (1, 7, 3)])
    assert [len(answer.items) for answer in answers] == [1, 7, 3]
    assert answers[1].items[:3] == answers[2].items


def test_labels_name_the_segments_by_channel_and_content(client: Client) -> None:
    texts = [Text("query", QUERIES[0]), Text("profile", PROFILE), Text("query", QUERIES[1])]
    answer = client.recommend(history=["P1000", "P1001"], texts=texts)
    assert set(answer.segments) == {
        "history/text:P1000",
        "history/text:P1001",
        "history/collaborative:P1000",
        "history/collaborative:P1001",
        "query/text",
        "query/text:2",
        "profile/text",
    }


def test_labels_of_sessions_name_all_their_items(by_session: Served) -> None:
    history = [Event("P1000", 0), Event("P1001", 60), Event("P1002", 100_000)]
    with by_session.client() as client:
        answer = client.recommend(history=history)
    assert {label for label in answer.segments if label.startswith("history/text")} == {
        "history/text:P1000+P1001",
        "history/text:P1002",
    }


def test_a_text_without_a_name_is_the_first_that_is_configured(client: Client) -> None:
    assert client.recommend(texts=QUERIES[0]) == client.recommend(texts={"query": QUERIES[0]})


def test_tokens_beyond_a_texts_limit_are_left_out_and_counted(client: Client) -> None:
    words = ["tent"] * 32  # one token each, and the limit of query is 32
    whole = client.recommend(texts={"query": " ".join(words)})
    longer = client.recommend(texts={"query": " ".join([*words, "coffee", "coffee"])})
    assert (whole.truncated_tokens, longer.truncated_tokens) == (0, 2)
    assert longer.items == whole.items


@pytest.mark.parametrize(
    ("heavier", "lighter"),
    [
        (Event("P1000", kind="purchase"), Event("P1000", kind="view")),
        (Event("P1000", weight=8.0), Event("P1000", weight=0.5)),
    ],
    ids=["kind", "weight"],
)
def test_a_heavier_event_contributes_a_larger_share(client: Client, heavier: Event, lighter: Event) -> None:
    def share(event: Event) -> float:
        answer = client.recommend(history=[event, Event("P1001")], candidates=["P1002"])
        column = answer.segments.index("history/text:P1000")
        others = [k for k, label in enumerate(answer.segments) if label.startswith("history/text")]
        return float(answer.contributions[0, column] / answer.contributions[0, others].sum())

    assert share(heavier) > share(lighter)


def test_a_weight_of_0_takes_a_segment_out(client: Client) -> None:
    without = client.recommend(history=["P1001"])
    silenced = client.recommend(history=[Event("P1000", weight=0.0), Event("P1001")], exclude_history=False)
    assert silenced.segments == without.segments


def test_newer_events_weigh_more(client: Client) -> None:
    answer = client.recommend(history=["P1000", "P1000", "P1000"], candidates=["P1005"])
    shares = answer.contributions[0, [k for k, label in enumerate(answer.segments) if label.startswith("history/text")]]
    # Equal segments: what is left of the difference is recency, 0.8 a step, within three float32 roundings.
    np.testing.assert_allclose(shares[:-1] / shares[1:], [0.8, 0.8], rtol=1e-6)


def test_a_query_finds_what_it_describes(client: Client, shop: Shop) -> None:
    answer = client.recommend(texts={"query": "burr grinder for coffee beans"}, top_k=5)
    assert sum("coffee" in text or "grinder" in text for text in (shop.texts[i].lower() for i in answer.item_ids)) >= 3
