"""The cross-encoder's pairs: each scored once, in batches of like lengths, the newest history kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers

from tesserank.encoding.template import Template
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.errors import InvalidArgumentError, LimitExceededError
from tesserank.limits import Limits
from tesserank.serving.cross import PairScorer

TEMPLATE = Template(prefix=(90,), separator=(91,), suffix=(92,), pad=0, max_tokens=12)


class SumScorer:
    """A pair's score is the sum of its ids; records every batch."""

    def __init__(self) -> None:
        self.batches: list[list[list[int]]] = []

    def __call__(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        self.batches.append([row[: int(n)].tolist() for row, n in zip(ids, mask.sum(axis=1), strict=True)])
        return (ids * mask).sum(axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    """The words "0" to "80" are the tokens 0 to 80."""
    made = Tokenizer(models.WordLevel({str(number): number for number in range(81)}, unk_token="0"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    path: Path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(str(path))
    return TextTokenizer(path)


def test_every_pair_gets_its_own_score_and_padding_gets_0(tokenizer: TextTokenizer) -> None:
    model = SumScorer()
    scorer = PairScorer(tokenizer, TEMPLATE, model, max_rows=2, limits=Limits())
    scores = scorer.score([b"1 2", b"40"], [[b"3 4 5", b"", b"6"], [b"7", b"8 9", b"10"]])
    special = 90 + 91 + 92
    assert scores.dtype == np.float32
    assert scores.tolist() == [[3 + 12 + special, 0, 3 + 6 + special], [47 + special, 57 + special, 50 + special]]
    lengths = [[len(row) for row in batch] for batch in model.batches]
    assert lengths == [[5, 5], [6, 6], [8]], "like lengths share a batch, none above max_rows"


def test_a_history_that_does_not_fit_loses_its_oldest_tokens(tokenizer: TextTokenizer) -> None:
    model = SumScorer()
    history = " ".join(map(str, range(1, 31))).encode()
    PairScorer(tokenizer, TEMPLATE, model, max_rows=4, limits=Limits()).score([history], [[b"50 51"]])
    assert model.batches == [[[90, 24, 25, 26, 27, 28, 29, 30, 91, 50, 51, 92]]]


def test_an_item_that_fills_the_input_leaves_no_room_for_history(tokenizer: TextTokenizer) -> None:
    model = SumScorer()
    PairScorer(tokenizer, TEMPLATE, model, max_rows=4, limits=Limits()).score([b"1 2"], [[b"50 " * 20]])
    assert model.batches == [[[90, 91, *[50] * 9, 92]]]


def test_without_candidates_nothing_is_scored(tokenizer: TextTokenizer) -> None:
    model = SumScorer()
    scores = PairScorer(tokenizer, TEMPLATE, model, max_rows=4, limits=Limits()).score([b"1", b"2"], [[], []])
    assert scores.shape == (2, 0)
    assert model.batches == []


def test_text_that_is_not_utf8_names_its_tensor(tokenizer: TextTokenizer) -> None:
    scorer = PairScorer(tokenizer, TEMPLATE, SumScorer(), max_rows=4, limits=Limits())
    with pytest.raises(InvalidArgumentError, match="user 1: HISTORY_TEXT is not UTF-8"):
        scorer.score([b"1", b"\xff"], [[b"1"], [b"1"]])
    with pytest.raises(InvalidArgumentError, match="user 0: CANDIDATE_TEXTS is not UTF-8"):
        scorer.score([b"1"], [[b"\xff"]])


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(max_pairs=3), "4 pairs, the limit max_pairs is 3"),
        (Limits(max_text_bytes=4), "5 bytes in a text, the limit max_text_bytes is 4"),
    ],
)
def test_too_many_pairs_and_too_long_texts_are_refused(tokenizer: TextTokenizer, limits: Limits, message: str) -> None:
    scorer = PairScorer(tokenizer, TEMPLATE, SumScorer(), max_rows=4, limits=limits)
    with pytest.raises(LimitExceededError, match=message):
        scorer.score([b"1", b"2"], [[b"3", b"4"], [b"5", b"6 7 8"]])
