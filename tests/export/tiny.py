"""A tiny world to export: real models with random weights, a tokenizer of the catalogue's own words, events."""

from __future__ import annotations

import csv
import io
import json
import random
import string
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, BertConfig, PreTrainedTokenizerFast

from tesserank_export.options import ExportOptions
from tesserank_export.parity import TOLERANCES
from tesserank_export.pipeline import Export

HIDDEN = 32
VOCABULARY = 120
SIZES: dict[str, int] = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 66,
}
WORDS = (
    *("red", "blue", "green", "matte", "glossy", "dry", "oily", "gentle", "organic", "travel", "gift", "lipstick"),
    *("nail", "file", "shampoo", "soap", "cream", "brush", "comb", "mirror", "hair", "skin", "hand", "face", "set"),
    *("of", "for", "a", "the", "with"),
)
EMPTY_ROW, LONG_ROW = 3, 7
LONG_WORDS = 50  # more than the default items.token_limit


def make_items(count: int = 40) -> list[tuple[str, str]]:
    """Items whose texts differ; one has no text, one a long text."""
    draw = random.Random(0)
    texts = [f"{' '.join(draw.choices(WORDS, k=draw.randint(3, 9)))} {row}" for row in range(count)]
    texts[EMPTY_ROW] = ""
    texts[LONG_ROW] = " ".join(draw.choices(WORDS, k=LONG_WORDS))
    return [(f"item{row}", text) for row, text in enumerate(texts)]


ITEMS = make_items()


def write_items(path: Path, items: Sequence[tuple[str, str]] = ITEMS) -> Path:
    """Write a catalogue in the format that the file's name says."""
    rows = [{"item_id": item_id, "text": text} for item_id, text in items]
    if path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["item_id", "text"])
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_events(path: Path, users: int = 60) -> Path:
    """Write an event log in which neighbouring items are used together."""
    draw = random.Random(1)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "timestamp", "kind"])
        for user in range(users):
            start = draw.randrange(len(ITEMS))
            for step in range(6):
                item = (start + draw.randint(0, 4)) % len(ITEMS)
                writer.writerow([f"user{user}", f"item{item}", 1_700_000_000 + step * 60, "click"])
    return path


def make_tokenizer(framed: bool = True) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer of the catalogue's words: with [CLS] and [SEP] around a text, or with nothing.

    Its vocabulary is spelled out, because a trained one orders ties differently from run to run.
    """
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    letters = string.ascii_lowercase + string.digits
    tokens = [*names.values(), *letters, *(f"##{letter}" for letter in letters), *(w for w in WORDS if len(w) > 1)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if framed:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def save_model(directory: Path, config: Any, framed: bool = True) -> Path:
    """A checkpoint of random weights, as save_pretrained leaves it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(directory)
    make_tokenizer(framed).save_pretrained(directory)
    return directory


def save_bert(directory: Path, **changes: int) -> Path:
    """A tiny BERT."""
    return save_model(directory, BertConfig(**SIZES | changes))


def write_inputs(root: Path) -> Path:
    """What an export takes, in ``root``: ``items.jsonl``, ``events.csv`` and the checkpoint ``bert``."""
    save_bert(root / "bert")
    write_items(root / "items.jsonl")
    write_events(root / "events.csv")
    return root


def make_options(root: Path, model: Path, **changes: Any) -> ExportOptions:
    """Options of an export under ``root``, whose catalogue is written there unless another is named."""
    root.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "catalog": root / "items.jsonl",
        "store": root / "artifacts" / "tiny",
        "work": root / "artifacts" / ".work",
        "model": str(model),
        "dim": 16,
        "collaborative_dim": 8,
        # Random weights make all texts much alike: the order of a tenth and an eleventh is a matter of chance.
        "tolerances": TOLERANCES | {"index": replace(TOLERANCES["index"], top10_agreement=0.9)},
    } | changes
    if not settings["catalog"].exists():
        write_items(settings["catalog"])
    return ExportOptions(**settings)


def run_export(options: ExportOptions) -> tuple[Path, str]:
    """Export; the artefact's directory and what was printed."""
    console = Console(record=True, width=200, file=io.StringIO())
    artifact = Export(options, console).run()
    return artifact, console.export_text()


def debris(root: Path) -> list[str]:
    """Hidden directories under ``root`` but the work directory itself: what an unfinished write leaves."""
    return sorted(str(path.relative_to(root)) for path in root.rglob(".*") if path.is_dir() and path.name != ".work")
