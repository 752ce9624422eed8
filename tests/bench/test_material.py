"""What is asked: exact lengths, nothing twice, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.errors import DataError
from tesserank_bench.latency.material import HISTORY_EVENTS, SEGMENT_TOKENS, SEGMENTS, FreshTexts, Material
from tesserank_bench.latency.paths import COLD, HOT, ITEMS, ONE_SEGMENT, WARM, Requests, due
from tesserank_client import Text

WORDS = [f"w{number}" for number in range(200)]
# A word with hyphens is several tokens, as it is to many tokenizers.
TEXTS = {
    f"item {row}": " ".join("-".join(WORDS[(row * 7 + at) % 200 :][: 1 + at % 3]) for at in range(1 + row % 9))
    for row in range(300)
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    vocabulary = {word: number for number, word in enumerate(["[UNK]", "-", *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(str(path))
    return TextTokenizer(path)


def fresh_texts(tokenizer: TextTokenizer, seed: int = 0) -> FreshTexts:
    return FreshTexts(tokenizer, list(TEXTS.values()), np.random.default_rng(seed))


@given(st.integers(4, 160))
def test_a_text_has_exactly_as_many_tokens_as_asked(tokenizer: TextTokenizer, tokens: int) -> None:
    assert len(tokenizer(fresh_texts(tokenizer).make(tokens))) == tokens


def test_no_text_is_made_twice_and_its_words_are_the_catalogues(tokenizer: TextTokenizer) -> None:
    fresh = fresh_texts(tokenizer)
    texts = [fresh.make(8) for _ in range(2_000)]
    assert len({tuple(tokenizer(text)) for text in texts}) == 2_000
    known = {word for text in TEXTS.values() for word in text.split()}
    assert {word for text in texts for word in text.split()} <= known


def test_a_catalogue_with_too_few_words_is_said_to_have_too_few(tokenizer: TextTokenizer) -> None:
    fresh = FreshTexts(tokenizer, ["w1"], np.random.default_rng(0))
    assert fresh.make(2) == "w1 w1"
    with pytest.raises(DataError, match="too few words"):
        fresh.make(2)


def draw(tokenizer: TextTokenizer, seed: int = 0) -> Material:
    return Material.draw(TEXTS | {"textless": " "}, tokenizer, users=3, candidates=[10, 100], seed=seed)


def test_users_are_drawn_from_the_catalogue_alike_for_equal_seeds(tokenizer: TextTokenizer) -> None:
    material = draw(tokenizer)
    assert material.users == draw(tokenizer).users != draw(tokenizer, seed=1).users
    for user in material.users:
        assert [len(tokenizer(text)) for text in user.segments] == [SEGMENT_TOKENS] * SEGMENTS
        assert len(user.history) == len(user.timestamps) == HISTORY_EVENTS
        assert list(user.timestamps) == sorted(set(user.timestamps))
        for count, ids in user.candidates.items():
            assert len(set(ids)) == count
        assert set(user.history) | set(user.candidates[100]) <= set(TEXTS)  # none without a text
    assert material.user(4) is material.users[1]


def test_more_candidates_than_items_are_refused(tokenizer: TextTokenizer) -> None:
    with pytest.raises(DataError, match="400 candidates of a catalogue of 300 items"):
        Material.draw(TEXTS, tokenizer, users=1, candidates=[400], seed=0)


def test_the_cross_encoder_reads_the_segments_of_the_user_and_the_candidates_texts(tokenizer: TextTokenizer) -> None:
    material = draw(tokenizer)
    user = material.users[0]
    history, candidates = material.pairs(user, 10)
    assert len(tokenizer(history)) == SEGMENTS * SEGMENT_TOKENS
    assert candidates == [TEXTS[item] for item in user.candidates[10]]


@pytest.mark.parametrize("path", [ONE_SEGMENT, COLD, WARM, HOT])
def test_what_is_to_be_new_is_new_every_time_and_the_rest_is_the_users(path: str, tokenizer: TextTokenizer) -> None:
    material = draw(tokenizer)
    user = material.users[0]
    asked = [Requests(material).make(path, user, 10) for _ in range(3)]
    sent: list[list[str]] = []
    for request in asked:
        assert request.candidates == user.candidates[10]
        assert not isinstance(request.texts, (str, dict))
        texts = [text.text for text in request.texts if isinstance(text, Text)]
        assert sum(len(tokenizer(text)) for text in texts) == SEGMENTS * SEGMENT_TOKENS
        sent.append(texts)
    known = set(user.segments)
    new = [text for texts in sent for text in texts if text not in known]
    assert len(set(new)) == len(new) == 3 * due(path)[1]


def test_item_segments_are_the_newest_items_of_the_history(tokenizer: TextTokenizer) -> None:
    user = (material := draw(tokenizer)).users[0]
    request = Requests(material).make(ITEMS, user, None)
    assert request.candidates is None
    assert [getattr(event, "item_id", None) for event in request.history] == list(user.items) == list(user.history[-5:])


def test_sessions_of_mixed_lengths_are_mixed(tokenizer: TextTokenizer) -> None:
    material, rng = draw(tokenizer), np.random.default_rng(0)
    requests = [Requests(material).mixed(rng) for _ in range(30)]
    lengths = {len(tokenizer(text.text)) for request in requests for text in request.texts if isinstance(text, Text)}
    assert len(lengths) > 20
    assert min(lengths) >= 4
    assert max(lengths) <= 128
