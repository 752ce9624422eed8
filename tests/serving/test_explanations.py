"""Explanations made from an artefact say what its server says, and ``tesserank explain`` prints them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tesserank.serving.explain import Explainer
from tests.serving.pipeline import PROFILE, QUERIES, Served, Shop, context_of, options_of
from tests.serving.test_reference import score_tolerance, segment_score_tolerance

SHOWN = 3


def tesserank(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tesserank", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_explained_scores_are_the_servers(served: Served, shop: Shop) -> None:
    explainer = Explainer.open(served.offline.artifact, threads=2)
    temperature = served.offline.config.aggregation.temperature
    with served.client() as client:
        for name, request in shop.requests().items():
            asked = replace(request, top_k=SHOWN)
            answer = client.recommend_many([asked])[0]
            explanations = explainer.explain(context_of(asked), options_of(asked))
            assert [explanation.item_id for explanation in explanations] == list(answer.item_ids), name
            tolerance = score_tolerance(served.offline, float(np.abs(answer.scores).max()))
            moved = tolerance * (1 + float(np.abs(answer.scores).max()) / temperature)
            for explanation, item in zip(explanations, answer.items, strict=True):
                parts = explanation.segments
                assert [part.label for part in parts] == list(answer.segments), name
                np.testing.assert_allclose(
                    [part.score for part in parts],
                    item.segment_scores,
                    rtol=0,
                    atol=segment_score_tolerance(served.offline),
                    err_msg=name,
                )
                contributions = [part.contribution for part in parts]
                np.testing.assert_allclose(contributions, item.contributions, rtol=0, atol=moved, err_msg=name)
                assert sum(contributions) == pytest.approx(explanation.score, abs=1e-9)
                assert explanation.score == pytest.approx(item.score, abs=tolerance)
                whole = explanation.baseline + explanation.concentration
                whole += sum(pair.contribution for pair in explanation.pairs)
                assert whole == pytest.approx(explanation.score, abs=1e-9)


def test_explain_prints_what_the_server_ranked_first(by_session: Served, shop: Shop, tmp_path: Path) -> None:
    history = shop.history(4)
    user = tmp_path / "user.json"
    user.write_text(
        json.dumps(
            {
                "item_ids": [event.item_id for event in history],
                "timestamps": [event.timestamp for event in history],
                "kinds": [event.kind for event in history],
                "texts": {"query": QUERIES[0], "profile": PROFILE},
            }
        )
    )
    asked = ("--user", str(user), "--top-k", "2", "--json")
    recommended = tesserank("recommend", "--url", by_session.address(), *asked)
    explained = tesserank("explain", "--artifact", str(by_session.offline.artifact), *asked)
    assert (recommended.returncode, explained.returncode) == (0, 0), recommended.stderr + explained.stderr
    theirs, ours = json.loads(recommended.stdout), json.loads(explained.stdout)
    assert ours["artifact"] == by_session.offline.artifact.name
    assert [item["item_id"] for item in ours["items"]] == [item["item_id"] for item in theirs["items"]]
    for our, their in zip(ours["items"], theirs["items"], strict=True):
        assert [part["label"] for part in our["segments"]] == theirs["segments"]
        np.testing.assert_allclose([part["score"] for part in our["segments"]], their["segment_scores"], atol=1e-4)
        assert our["item_text"]
        assert all(pair["segment_token"] and pair["item_token"] for pair in our["pairs"])


def test_explain_prints_tables_and_names_what_it_cannot_find(by_item: Served) -> None:
    artifact = str(by_item.offline.artifact)
    query = "waterproof running jacket"
    shown = tesserank("explain", "--artifact", artifact, "--history", "P1000", "--text", query, "--pairs", "5")
    assert shown.returncode == 0, shown.stderr
    assert "that every item gets" in shown.stdout
    assert "token pairs, the largest 5 of" in shown.stdout
    assert "jacket" in shown.stdout
    unknown = tesserank("explain", "--artifact", artifact, "--history", "P1000", "--item", "nope")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "1 item (nope) of the candidates not in the catalogue" in unknown.stderr
    nothing = tesserank("explain", "--artifact", artifact)
    assert nothing.returncode == 2
    assert "nothing to score by" in nothing.stderr
