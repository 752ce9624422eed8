"""ONNX Runtime on a graph of a few nodes, and the tokenizer on a vocabulary of nine words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tesserank.encoding.engine import OnnxEngine
from tesserank.encoding.template import row_lengths
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.errors import ArtifactError
from tests.core.tiny_graph import IDS, MASK, TABLE, write_graph


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write_graph(tmp_path / "model.onnx")


def test_a_batch_runs_as_one(graph: Path) -> None:
    result = OnnxEngine(graph, threads=1)(IDS, MASK)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, TABLE[IDS] - 9 * MASK[:, :, None])


def test_int8_runs_row_by_row_so_that_neighbours_do_not_matter(graph: Path) -> None:
    engine = OnnxEngine.for_precision(graph, "int8", threads=1)
    together = engine(IDS, MASK)
    rows = TABLE[IDS] - np.array([2, 9])[:, None, None]
    np.testing.assert_array_equal(together, rows * MASK[:, :, None])
    np.testing.assert_array_equal(together[:1], engine(IDS[:1], MASK[:1]))
    batched = OnnxEngine.for_precision(graph, "fp32", threads=1)(IDS, MASK)
    assert not np.array_equal(batched, together), "the graph must tell the two apart"


def test_int8_leaves_padding_out_since_it_would_count_as_a_neighbour(graph: Path) -> None:
    engine = OnnxEngine.for_precision(graph, "int8", threads=1)
    ids, mask = np.array([[1, 2, 9, 9]]), np.array([[1, 1, 0, 0]])
    padded = engine(ids, mask)
    np.testing.assert_array_equal(padded[:, :2], engine(ids[:, :2], mask[:, :2]))
    np.testing.assert_array_equal(padded[:, 2:], np.zeros((1, 2, 3)))


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_one_thread_gives_what_all_of_them_give(graph: Path, precision: str) -> None:
    engine = OnnxEngine.for_precision(graph, precision, threads=3)
    np.testing.assert_array_equal(engine.on_this_thread(IDS, MASK), engine(IDS, MASK))


def test_the_length_of_a_row_is_what_is_left_without_the_padding_behind_it() -> None:
    mask = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    assert row_lengths(mask).tolist() == [2, 3, 4, 1]


def test_rows_that_run_at_once_come_back_in_their_order(graph: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 10, (37, 5))
    mask = np.ones_like(ids)
    at_once = OnnxEngine.for_precision(graph, "int8", threads=3)(ids, mask)
    np.testing.assert_array_equal(at_once, OnnxEngine.for_precision(graph, "int8", threads=1)(ids, mask))
    np.testing.assert_array_equal(at_once, TABLE[ids] - ids.max(axis=1)[:, None, None])


@pytest.mark.parametrize("content", [None, b"", b"not a graph"], ids=["missing", "empty", "garbage"])
def test_a_graph_that_cannot_be_loaded_is_an_error(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"(?s){path} cannot be loaded .*make export"):
        OnnxEngine(path, threads=1)


@pytest.fixture
def tokenizer(tmp_path: Path) -> TextTokenizer:
    """Words by white space; the file asks for special tokens, padding and truncation, as a checkpoint's does."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "blue", "wool", "scarf", "hat"]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)]
    )
    made.enable_padding(length=8)
    made.enable_truncation(3)
    made.save(str(tmp_path / "tokenizer.json"))
    return TextTokenizer(tmp_path / "tokenizer.json")


def test_text_is_tokenised_whole_and_without_special_tokens(tokenizer: TextTokenizer) -> None:
    assert tokenizer("red wool scarf blue hat") == [4, 6, 7, 5, 8]
    assert tokenizer("green") == [1]
    assert tokenizer("") == []
    assert tokenizer.vocabulary_size == 9


def test_many_texts_give_what_each_gives(tokenizer: TextTokenizer) -> None:
    texts = ["red hat", "", "blue"]
    assert tokenizer.many(texts) == [tokenizer(text) for text in texts]
