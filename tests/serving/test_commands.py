"""``tesserank recommend`` and ``tesserank doctor`` as people and scripts run them, against a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tesserank.server.doctor import STAGES
from tesserank.server.ports import claim_ports
from tesserank_client import Client
from tests.serving.pipeline import QUERIES, Served, Shop


def tesserank(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "tesserank", *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_recommend_prints_the_answer_as_one_json_object(by_item: Served, client: Client, protocol: str) -> None:
    url = ("--url", by_item.address(protocol), "--protocol", protocol)
    ids = "P1002,P1003,P1004,P1005,nope"
    ended = tesserank(
        "recommend", *url, "--history", "P1000,P1001,gone", "--text", QUERIES[0], "--candidates", ids,
        "--top-k", "3", "--json",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    printed = json.loads(ended.stdout)
    expected = client.recommend(
        history=["P1000", "P1001", "gone"], texts={"query": QUERIES[0]}, candidates=ids.split(","), top_k=3
    )
    assert [item["item_id"] for item in printed["items"]] == list(expected.item_ids)
    assert [item["score"] for item in printed["items"]] == [item.score for item in expected.items]
    assert [tuple(item["contributions"]) for item in printed["items"]] == [i.contributions for i in expected.items]
    assert printed["segments"] == list(expected.segments)
    assert (printed["unknown_history"], printed["unknown_candidates"]) == (1, 1)


def test_recommend_prints_a_table(by_item: Served, client: Client) -> None:
    ended = tesserank("recommend", "--url", by_item.address(), "--history", "P1000,nope", "--top-k", "4")
    assert ended.returncode == 0, ended.stderr
    best = client.recommend(history=["P1000", "nope"], top_k=4)
    lines = ended.stdout.splitlines()
    for item in best.items:
        assert any(item.item_id in line and f"{item.score:.4f}" in line for line in lines), ended.stdout
    assert "history ids not in the catalogue, skipped: 1" in ended.stdout
    assert "history/text:P1000" in ended.stdout


def test_recommend_takes_ids_from_a_file_and_named_texts(by_item: Served, client: Client, tmp_path: Path) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("P1000\nP1001\n")
    ended = tesserank(
        "recommend", "--url", by_item.address(), "--history", f"@{ids}", "--named-text", "profile", "runs in the hills",
        "--exclude", "P1002", "--include-history", "--json",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    expected = client.recommend(
        history=["P1000", "P1001"], texts={"profile": "runs in the hills"}, exclude=["P1002"], exclude_history=False
    )
    assert [item["item_id"] for item in json.loads(ended.stdout)["items"]] == list(expected.item_ids)


def test_recommend_takes_categories(by_item: Served, client: Client, shop: Shop) -> None:
    first, second = shop.categories[:2]
    ended = tesserank(
        "recommend", "--url", by_item.address(), "--text", "tent", "--category", first, "--category", second, "--json"
    )
    assert ended.returncode == 0, ended.stderr
    expected = client.recommend(texts="tent", categories=[first, second])
    assert [item["item_id"] for item in json.loads(ended.stdout)["items"]] == list(expected.item_ids)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--history", "P1000,nope", "--reject-unknown"], "1 item (nope) of the history not in the catalogue"),
        (["--history", "nope"], "nothing to score by"),
        (["--text", "tent", "--candidates", "P1000", "--top-k", "2"], "TOP_K is 2, but there are 1 candidates"),
        (["--text", "tent", "--top-k", "0"], "top_k"),
    ],
    ids=["unknown item", "nothing known", "k above candidates", "k of 0"],
)
def test_recommend_exits_with_2_and_one_line_when_the_request_is_at_fault(
    by_item: Served, arguments: list[str], message: str
) -> None:
    ended = tesserank("recommend", "--url", by_item.address(), *arguments, "--json")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: ")
    assert message in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_recommend_exits_with_3_when_no_server_answers() -> None:
    (port,) = claim_ports("127.0.0.1", [("--grpc-port", 0)])
    ended = tesserank("recommend", "--url", f"127.0.0.1:{port}", "--text", "tent", "--timeout", "2")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert f"127.0.0.1:{port}" in ended.stderr


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_doctor_exits_with_0_and_lists_every_stage_of_a_healthy_server(by_item: Served, scheme: str) -> None:
    url = by_item.server.urls.http if scheme else by_item.server.urls.grpc
    ended = tesserank("doctor", "--url", url, "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    printed = json.loads(ended.stdout)
    assert printed["healthy"] is True
    assert set(STAGES) <= {stage["stage"] for stage in printed["stages"]}
    assert {stage["status"] for stage in printed["stages"]} == {"ok"}


def test_doctor_exits_with_1_when_nothing_answers() -> None:
    (port,) = claim_ports("127.0.0.1", [("--grpc-port", 0)])
    ended = tesserank("doctor", "--url", f"127.0.0.1:{port}", "--timeout", "2")
    assert ended.returncode == 1
    assert "start it with" in ended.stdout, "the remedy"
