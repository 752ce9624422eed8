"""``tesserank recommend``: its options, what it prints and how it exits. Answers of a real server: tests/serving."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from tesserank.commands import explain, recommend
from tesserank.commands._request import AskedUser, asked_user
from tesserank.errors import ConfigError
from tesserank_client import Event, Recommendations, Text
from tesserank_client._result import decode_recommend


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    recommend.add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.fixture
def answer() -> Recommendations:
    tensors = {
        "ITEM_IDS": np.array([[b"[b]best[/b]", b"second", b""]], dtype=object),
        "SEGMENT_LABELS": np.array(
            [[b"history/text:a", b"text/query", b"history/text:b", b"profile", b""]], dtype=object
        ),
        "SCORES": np.array([[2.5, 1.0, -np.inf]], np.float32),
        "SEGMENT_SCORES": np.full((1, 3, 5), 0.5, np.float32),
        "SEGMENT_CONTRIBUTIONS": np.array([[[0.25, 2.0, 0.125, 0.125, 0], [1, 0, 0, 0, 0], [0] * 5]], np.float32),
        "UNKNOWN_HISTORY": np.array([[3]], np.int32),
        "UNKNOWN_CANDIDATES": np.array([[0]], np.int32),
        "TRUNCATED_TOKENS": np.array([[0]], np.int32),
        "CACHE_HITS": np.array([[4]], np.int32),
        "CACHE_MISSES": np.array([[1]], np.int32),
    }
    return decode_recommend(tensors, 1)[0]


def test_the_table_shows_items_scores_and_the_largest_contributions(
    answer: Recommendations, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    recommend._print_table(answer)
    printed = capsys.readouterr().out
    assert "[b]best[/b]" in printed
    assert "2.5000" in printed
    assert printed.index("+2.0000 text/query") < printed.index("+0.2500 history/text:a")
    assert "profile" not in printed  # the smallest of four
    assert "history ids not in the catalogue, skipped: 3" in printed
    assert "candidate ids" not in printed
    assert "segments found encoded: 4, encoded now: 1" in printed


def test_the_json_object_holds_the_whole_answer(answer: Recommendations) -> None:
    printed = json.loads(json.dumps(recommend.as_json(answer)))
    assert printed["segments"] == ["history/text:a", "text/query", "history/text:b", "profile"]
    assert printed["items"][0] == {
        "item_id": "[b]best[/b]",
        "score": 2.5,
        "segment_scores": [0.5] * 4,
        "contributions": [0.25, 2.0, 0.125, 0.125],
    }
    assert len(printed["items"]) == 2
    counts = {name: value for name, value in printed.items() if name not in ("items", "segments")}
    assert counts == {
        "unknown_history": 3,
        "unknown_candidates": 0,
        "truncated_tokens": 0,
        "cache_hits": 4,
        "cache_misses": 1,
    }


def test_ids_come_comma_separated_or_from_a_file(tmp_path: Path) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_bytes("one, with a comma\r\nzwölf\n\n".encode())
    args = parse("--history", "a,b", "--candidates", f"@{ids}", "--exclude", "c")
    assert args.history == ("a", "b")
    assert args.candidates == ("one, with a comma", "zwölf")
    assert args.exclude == ("c",)


def test_categories_are_named_one_by_one() -> None:
    assert parse("--category", "tents", "--category", "boots, lined").category == ["tents", "boots, lined"]
    assert parse("--text", "tent").category is None


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_of_ids_that_cannot_be_read_is_named(
    tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = tmp_path / "ids.txt"
    if content is not None:
        ids.write_bytes(content)
    with pytest.raises(SystemExit) as stopped:
        parse("--history", f"@{ids}")
    assert stopped.value.code == 2
    assert f"cannot read ids from {ids}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--history", "a", "--top-k", "0"], "top_k is 0"),
        (["--history", "a,,b"], 'item id in history is ""'),
        (["--history", "a", "--candidates", ""], "candidates is empty"),
        (["--text", ""], "text '' is \"\""),
        (["--history", "a", "--timeout", "0"], "timeout of 0.0 s"),
        (["--history", "a", "--url", "http://127.0.0.1:8000"], "host:port"),
    ],
)
def test_a_request_that_cannot_be_sent_exits_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recommend.run(parse(*arguments)) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert message in printed.err
    assert printed.out == ""


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_server_that_cannot_be_reached_exits_with_3(
    protocol: str, refusing_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recommend.run(parse("--history", "a", "--protocol", protocol, "--url", refusing_url)) == 3
    assert f"error: no connection to {protocol}://{refusing_url}" in capsys.readouterr().err


def test_a_server_that_does_not_answer_exits_with_3(silent_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--text", "shoes", "--named-text", "profile", "runner", "--url", silent_url, "--timeout", "0.2"]
    assert recommend.run(parse(*arguments)) == 3
    assert f"error: no answer from grpc://{silent_url} within 0.2 s" in capsys.readouterr().err


def test_a_user_in_a_file_is_sent_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "user.json"
    path.write_text(
        json.dumps(
            {"item_ids": ["a", "b"], "timestamps": [5, 6], "kinds": ["view", "buy"], "texts": {"q": "tea"}, "age": 7}
            | {"timestamp": 8}
        )
    )
    user = asked_user(parse("--user", str(path), "--text", "cup"))
    assert user == AskedUser(["a", "b"], [5, 6], ["view", "buy"], None, [("", "cup"), ("q", "tea")], 8)
    assert "not used: age; used are item_ids, timestamps" in capsys.readouterr().err
    assert explain._context(user).timestamp == 8
    request = recommend._request(user, parse("--top-k", "3"))
    assert request.history == [Event("a", 5, "view"), Event("b", 6, "buy")]
    assert (request.texts, request.top_k, request.timestamp) == ([Text("", "cup"), Text("q", "tea")], 3, 8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "an object is needed, found list"),
        ('{"item_ids": "a"}', "item_ids must be a list of str, not 'a'"),
        ('{"item_ids": ["a"], "timestamps": [1.5]}', r"timestamps must be a list of int, not \[1.5\]"),
        ('{"item_ids": ["a"], "weights": [true]}', "weights must be a list of int or float"),
        ('{"item_ids": ["a"], "kinds": []}', "0 kinds but 1 item_ids"),
        ('{"timestamp": "8"}', "timestamp must be an int, whole Unix seconds, not '8'"),
        ('{"texts": ["tea"]}', "texts must be an object of strings by name"),
    ],
)
def test_a_file_that_holds_no_user_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "user.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=f"--user {path}: .*{message}"):
        asked_user(parse("--user", str(path)))


def test_a_history_and_a_file_are_not_mixed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--user", "user.json", "--history", "a")
    assert "not allowed with argument" in capsys.readouterr().err
