"""Whatever AutoModel loads is an encoder here: the graph says what torch says, at any length, padded or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as t

from tesserank.encoding.engine import OnnxEngine
from tesserank.errors import ConfigError
from tesserank_export import fusion, graph
from tesserank_export.checkpoint import Checkpoint, resolve_checkpoint
from tesserank_export.graph import Backbone, export_backbone
from tests.export.tiny import SIZES, make_tokenizer, save_model

# Hidden states are of order 1; sums of float32 over two layers were seen to move them by at most 2e-6.
TOLERANCE = 1e-5
GROUPED = {"num_key_value_heads": 2}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
ENCODERS = {
    "bert": t.BertConfig(**SIZES),
    "distilbert": t.DistilBertConfig(vocab_size=120, dim=32, n_layers=2, n_heads=4, hidden_dim=48),
    "roberta": t.RobertaConfig(**SIZES, pad_token_id=0),
    "mpnet": t.MPNetConfig(**SIZES),
    "electra": t.ElectraConfig(**SIZES, embedding_size=16),
    "modernbert": t.ModernBertConfig(**SIZES, **SPECIAL, local_attention=8, global_attn_every_n_layers=2),
    "t5 (its encoder)": t.T5Config(vocab_size=120, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4),
}
DECODERS = {
    "gpt2": t.GPT2Config(vocab_size=120, n_embd=32, n_layer=2, n_head=4, n_positions=66),
    "llama": t.LlamaConfig(**SIZES, **GROUPED),
    "qwen2": t.Qwen2Config(**SIZES, **GROUPED),
    "qwen3": t.Qwen3Config(**SIZES, **GROUPED, head_dim=8),
}


def assert_same_states(path: Path, checkpoint: Checkpoint) -> None:
    engine, backbone, pad = OnnxEngine(path, threads=1), Backbone(checkpoint), checkpoint.template().pad
    rng = np.random.default_rng(0)
    for length in (1, 3, 17, 40):
        ids = rng.integers(5, 100, (3, length))
        mask = np.ones_like(ids)
        with torch.inference_mode():
            expected = backbone(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        np.testing.assert_allclose(engine(ids, mask), expected, atol=TOLERANCE)
        behind = ((0, 0), (0, 7))
        padded = engine(np.pad(ids, behind, constant_values=pad), np.pad(mask, behind))
        np.testing.assert_allclose(padded[:, :length], expected, atol=TOLERANCE)


@pytest.mark.parametrize("family", [*ENCODERS, *DECODERS])
def test_the_exported_graph_says_what_torch_says(family: str, tmp_path: Path) -> None:
    config = (ENCODERS | DECODERS)[family]
    checkpoint = resolve_checkpoint(str(save_model(tmp_path / "model", config, framed=family in ENCODERS)))
    found = export_backbone(checkpoint, tmp_path / "backbone.onnx")
    assert found.refused is None
    assert sum(found.operators.values()) >= 5  # two layers, each with two normalisations, and the last
    assert_same_states(tmp_path / "backbone.onnx", checkpoint)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".onnx"] == ["backbone.onnx"]


def test_an_encoder_of_known_patterns_has_its_attention_fused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    assert export_backbone(checkpoint, tmp_path / "backbone.onnx").operators["Attention"] == 2


def raising(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("a pattern the optimiser does not know")


class Scaled:
    """A fusion that goes wrong: the optimiser's own, and then one of its weights is doubled."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.model = optimize_model(*args, **kwargs)

    def save_model_to_file(self, path: str) -> None:
        weight = next(w for w in self.model.model.graph.initializer if len(w.dims) == 2)
        doubled = 2 * graph.numpy_helper.to_array(weight)
        weight.CopyFrom(graph.numpy_helper.from_array(doubled, weight.name))
        self.model.save_model_to_file(path)


optimize_model = fusion.optimize_model


@pytest.mark.parametrize(
    ("optimiser", "reason"),
    [(raising, "AssertionError: a pattern the optimiser does not know"), (Scaled, "it differs from the checkpoint by")],
    ids=["raises", "changes the answers"],
)
def test_a_fusion_that_fails_leaves_the_graph_as_traced_and_says_why(
    optimiser: Any, reason: str, checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fusion, "optimize_model", optimiser)
    found = export_backbone(checkpoint, tmp_path / "backbone.onnx")
    assert not found.operators
    assert found.refused is not None
    assert reason in found.refused
    assert_same_states(tmp_path / "backbone.onnx", checkpoint)
    assert [path.name for path in tmp_path.iterdir()] == ["backbone.onnx"]


def test_a_model_that_reads_no_text_is_refused_by_its_family(tmp_path: Path) -> None:
    config = t.ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, image_size=32)
    t.AutoModel.from_config(config).save_pretrained(tmp_path / "vit")
    make_tokenizer().save_pretrained(tmp_path / "vit")
    with pytest.raises(ConfigError, match=r"vit \(family vit\) does not run as an encoder of token ids"):
        export_backbone(resolve_checkpoint(str(tmp_path / "vit")), tmp_path / "backbone.onnx")


def test_a_trace_that_fails_is_refused_by_its_family(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise torch.onnx.errors.UnsupportedOperatorError("aten::flux", 17, None)

    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(ConfigError, match=r"tiny-bert \(family bert\) cannot be exported to ONNX.*aten::flux"):
        export_backbone(checkpoint, tmp_path / "backbone.onnx")


def test_weights_beyond_one_onnx_file_are_refused_with_both_sizes(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "_MAX_BYTES", 1000)
    with pytest.raises(ConfigError, match=r"bert\) has [\d,]+ bytes of float32 weights; one ONNX file holds 1,000"):
        export_backbone(checkpoint, tmp_path / "backbone.onnx")
