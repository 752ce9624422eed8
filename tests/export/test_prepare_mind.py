"""MIND: impressions with and without labels, histories without times, quotes that mean nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tesserank.errors import DataError
from tesserank_export.prepare.mind import Mind
from tests.export.prepared import prepared

NEWS = [
    (
        "N1",
        "sports",
        "soccer",
        'A "late goal, she said',
        "An abstract.",
        "https://a.example/1",
        "[]",
        '[{"Label": "X"}]',
    ),
    ("N2", "news", "world", "Two", "", "https://a.example/2", "[]", "[]"),
    ("N3", "news", "world", "Three", "More.", "https://a.example/3", "", ""),
]
NINE = 1_573_462_800  # 11/11/2019 9:00:00 AM, UTC


def split(directory: Path, behaviors: list[tuple[str, ...]], news: list[tuple[str, ...]] | None = None) -> Path:
    directory.mkdir()
    for name, rows in (("news.tsv", NEWS if news is None else news), ("behaviors.tsv", behaviors)):
        (directory / name).write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return directory


def test_clicks_become_events_and_histories_come_before_the_first_impression(tmp_path: Path) -> None:
    # Impressions are in no order of time; only the history of the earliest counts, or its clicks would count twice.
    train = split(
        tmp_path / "train",
        [
            ("1", "U7", "11/11/2019 1:00:00 PM", "N2 N3 N1", "N3-0"),
            ("2", "U7", "11/11/2019 9:00:00 AM", "N2 N3", "N1-1 N2-0"),
            ("3", "U8", "11/11/2019 9:00:00 AM", "", "N3-1 N1-0"),
        ],
    )
    items, events, meta = prepared(Mind([train]), tmp_path / "out")
    assert items[0] == {
        "item_id": "N1", "text": 'A "late goal, she said. An abstract.', "title": 'A "late goal, she said',
        "category": "sports", "subcategory": "soccer", "abstract": "An abstract.",
    }  # fmt: skip
    assert items[1]["text"] == "Two"
    assert events == [
        ("U7", "N2", str(NINE - 2), "click", ""),
        ("U7", "N3", str(NINE - 1), "click", ""),
        ("U7", "N1", str(NINE), "click", ""),
        ("U8", "N3", str(NINE), "click", ""),
    ]
    assert meta["left_out"] == {}


def test_what_was_shown_and_not_clicked_comes_on_request(tmp_path: Path) -> None:
    train = split(tmp_path / "train", [("1", "U7", "11/11/2019 9:00:00 AM", "", "N1-1 N2-0 N3-0")])
    _, events, _ = prepared(Mind([train], shown=True), tmp_path / "out")
    assert [(item, kind) for _, item, _, kind, _ in events] == [("N1", "click"), ("N2", "shown"), ("N3", "shown")]


def test_splits_share_news_and_the_test_set_has_no_labels(tmp_path: Path) -> None:
    train = split(tmp_path / "train", [("1", "U7", "11/11/2019 9:00:00 AM", "N1", "N2-1")])
    test = split(
        tmp_path / "test",
        [("1", "U9", "11/22/2019 12:00:00 AM", "N3", "N1 N2")],
        news=[*NEWS[:1], ("N4", *NEWS[1][1:])],
    )
    items, events, meta = prepared(Mind([train, test]), tmp_path / "out", all_items=True)
    assert [item["item_id"] for item in items] == ["N1", "N2", "N3", "N4"]
    assert [(user, item) for user, item, *_ in events] == [("U7", "N1"), ("U7", "N2"), ("U9", "N3")]
    assert meta["left_out"] == {"items with the id of an earlier one": 1, "impressions without a label": 2}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("1", "U7", "2019-11-11 09:00", "", "N1-1"), "behaviors.tsv line 1: time '2019-11-11 09:00' is not like"),
        (("1", "U7", "11/11/2019 9:00:00 AM", "N1-1"), "line 1: 4 values separated by tabs, but 5 are needed"),
        (("1", "U7", "11/11/2019 9:00:00 AM", "", "N1-1 N2-7"), "line 1: impression 'N2-7': NEWS-0 or NEWS-1"),
        (("1", "", "11/11/2019 9:00:00 AM", "", "N1-1"), "line 1: the user id is empty"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, row: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepared(Mind([split(tmp_path / "train", [row])]), tmp_path / "out")


def test_a_directory_without_the_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"news\.tsv: no such file"):
        prepared(Mind([tmp_path]), tmp_path / "out")
