"""The segments file: defaults, and for every mistake an error that names the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from tesserank.errors import ConfigError
from tesserank.limits import Limits
from tesserank.segments.config import Channel, HistoryConfig, LearnedConfig, SegmentsConfig
from tesserank.segments.reader import load_segments, parse_segments

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/segments.toml"))


def test_an_empty_file_is_all_defaults() -> None:
    config = parse_segments("")
    assert config == SegmentsConfig()
    assert config.history == HistoryConfig(cut="item")
    assert list(config.history.spaces) == ["text", "collaborative"]
    assert list(config.texts) == ["query", "profile"]
    assert config.limits == Limits()


def test_there_are_example_files() -> None:
    assert {path.parent.name for path in EXAMPLES} == {"ecommerce", "social", "video"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_an_example_file_loads(path: Path) -> None:
    config = load_segments(path)
    assert config.name != "default"
    assert config.channels()


def test_channels_are_history_in_every_space_and_then_texts() -> None:
    config = parse_segments("[history.spaces]\ncollaborative = 2\n[texts.note]\nweight = 0.5\n")
    collaborative = Channel("history", "collaborative", 2.0, "softmax", 2.0, 0.8, 10)
    note = Channel("note", "text", 0.5, "softmax", 2.0)
    assert config.channels() == (collaborative, note)
    assert config.channels()[0].name == "history/collaborative"
    assert config.spaces() == ("text", "collaborative")
    assert config.without_space("collaborative").channels() == (note,)


def test_what_a_space_does_not_say_is_what_holds_for_all() -> None:
    config = parse_segments("""
        [history]
        recency = 0.5
        [history.spaces]
        text = { temperature = 1 }
        transitions = { weight = 3, method = "sum", recency = 1, max_events = 40 }
        [aggregation]
        temperature = 4.0
    """)
    assert config.channels()[:2] == (
        Channel("history", "text", 1.0, "softmax", 1.0, 0.5, 10),
        Channel("history", "transitions", 3.0, "sum", 4.0, 1.0, 40),
    )
    assert config.spaces() == ("text", "transitions")


def test_how_spaces_are_learned_may_be_said() -> None:
    config = parse_segments("[learned.transitions]\ndim = 256\npenalty = 30\n[learned.popularity]\nhalf_life_s = 60\n")
    assert config.learned == {
        "transitions": LearnedConfig(dim=256, penalty=30.0),
        "popularity": LearnedConfig(half_life_s=60),
    }


def test_a_whole_number_will_do_for_a_float() -> None:
    config = parse_segments("[aggregation]\ntemperature = 1\n[texts.query]\nweight = 2\n[history.kinds]\nlike = 3\n")
    assert (config.aggregation.temperature, config.texts["query"].weight, config.history.kinds["like"]) == (1, 2, 3)
    assert isinstance(config.aggregation.temperature, float)


def test_limits_may_be_overridden() -> None:
    assert parse_segments("[limits]\nmax_top_k = 5\n").limits == Limits(max_top_k=5)


MISTAKES = {
    "items.token_limit": "[items]\ntoken_limit = 0",
    "items.pooling_factor": "[items]\npooling_factor = 0",
    "items.vectors": '[items]\nvectors = "int3"',
    "items.token_weights": '[items]\ntoken_weights = "bm25"',
    "items.projection": '[items]\nprojection = "pca"',
    "history.cut": '[history]\ncut = "weekly"',
    "history.max_events": "[history]\nmax_events = 0",
    "history.session_gap_s": "[history]\nsession_gap_s = 0",
    "history.content_period": "[history]\ncontent_period = -1",
    "history.min_items": "[history]\nmin_items = 4",
    "history.max_items": "[history]\nmax_items = 0",
    "history.token_limit": "[history]\ntoken_limit = 0",
    "history.recency": "[history]\nrecency = 1.1",
    "history.kinds.like": "[history.kinds]\nlike = -1.0",
    "history.spaces.text": "[history.spaces]\ntext = nan",
    "history.spaces.image": "[history.spaces]\nimage = 1.0",
    "history.spaces.text.weight": "[history.spaces]\ntext = { weight = -1 }",
    "history.spaces.text.method": '[history.spaces]\ntext = { method = "mean" }',
    "history.spaces.text.temperature": "[history.spaces]\ntext = { temperature = 0 }",
    "history.spaces.text.recency": "[history.spaces]\ntext = { recency = 0 }",
    "history.spaces.text.max_events": "[history.spaces]\ntext = { max_events = 0 }",
    "learned.text": "[learned.text]\ndim = 8",
    "learned.transitions.dim": "[learned.transitions]\ndim = -1",
    "learned.transitions.penalty": "[learned.transitions]\npenalty = 0",
    "learned.popularity.half_life_s": "[learned.popularity]\nhalf_life_s = -1",
    "texts.query.token_limit": "[texts.query]\ntoken_limit = 0",
    "texts.query.weight": "[texts.query]\nweight = inf",
    "aggregation.method": '[aggregation]\nmethod = "mean"',
    "aggregation.temperature": "[aggregation]\ntemperature = 0",
    "limits.max_texts": "[limits]\nmax_texts = 0",
}


@pytest.mark.parametrize("key", MISTAKES)
def test_a_value_out_of_range_is_an_error_that_names(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"(^|\W){key}\b"):
        parse_segments(MISTAKES[key])


@pytest.mark.parametrize("temperature", ["nan", "inf", "-0.1", "1e-9"])
def test_a_temperature_that_float32_cannot_divide_by_is_an_error(temperature: str) -> None:
    with pytest.raises(ConfigError, match=r"aggregation\.temperature"):
        parse_segments(f"[aggregation]\ntemperature = {temperature}")


@pytest.mark.parametrize("recency", ["nan", "0.0", "-1.0", "inf"])
def test_a_recency_outside_0_to_1_is_an_error(recency: str) -> None:
    with pytest.raises(ConfigError, match=r"history\.recency"):
        parse_segments(f"[history]\nrecency = {recency}")


WRONG_TYPES = {
    "name": "name = 3",
    "items": "items = 3",
    "texts": "texts = []",
    "texts.query": 'texts.query = "x"',
    "history.max_events": "[history]\nmax_events = 10.0",
    "history.recency": '[history]\nrecency = "0.8"',
    "history.kinds": "[history]\nkinds = 1",
    "history.kinds.like": '[history.kinds]\nlike = "much"',
    "history.spaces.text": "[history.spaces]\ntext = true",
    "aggregation.group_by_item": "[aggregation]\ngroup_by_item = 1",
    "limits.max_texts": "[limits]\nmax_texts = true",
}


@pytest.mark.parametrize("key", WRONG_TYPES)
def test_a_value_of_the_wrong_type_is_an_error_that_names(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key} must be a "):
        parse_segments(WRONG_TYPES[key])


UNKNOWN = ["colour = 1", "[history]\ncolour = 1", "[texts.query]\ncolour = 1", "[limits]\ncolour = 1"]


@pytest.mark.parametrize("text", UNKNOWN)
def test_an_unknown_key_is_an_error_that_lists_the_known_ones(text: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'colour' in .*: known are \w+"):
        parse_segments(text)


@pytest.mark.parametrize("name", ["history", "a/b", ""])
def test_a_text_segment_cannot_have_a_name_that_would_confuse_channels(name: str) -> None:
    with pytest.raises(ConfigError, match="a text segment cannot be called"):
        parse_segments(f'[texts."{name}"]\nweight = 1.0')


def test_min_items_above_max_items_is_an_error_with_both_values() -> None:
    with pytest.raises(ConfigError, match=r"history\.min_items 3 is above max_items 2"):
        parse_segments("[history]\nmin_items = 3\nmax_items = 2")


def test_an_empty_table_of_texts_is_an_error_but_a_history_without_spaces_is_no_history() -> None:
    with pytest.raises(ConfigError, match="texts is empty"):
        parse_segments("texts = {}")
    assert [c.source for c in parse_segments("[history]\nspaces = {}").channels()] == ["query", "profile"]


def test_errors_of_a_file_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "segments.toml"
    with pytest.raises(ConfigError, match=f"{path} cannot be read: No such file"):
        load_segments(path)
    path.write_bytes(b'name = "\xff"')
    with pytest.raises(ConfigError, match=f"{path} is not UTF-8: byte 8"):
        load_segments(path)
    path.write_text("name =")
    with pytest.raises(ConfigError, match=f"{path}: not TOML"):
        load_segments(path)
