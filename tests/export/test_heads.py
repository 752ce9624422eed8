"""A checkpoint's own projection: found in both forms, folded in as it stands, refused where it is not linear."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tesserank.artifact.layout import Layout
from tesserank.errors import ConfigError
from tesserank.files import read_json
from tesserank.index import load_index
from tesserank_export.checkpoint import resolve_checkpoint
from tesserank_export.heads import Projection
from tests.export.tiny import HIDDEN, make_options, run_export

DENSE = "pylate.models.Dense.Dense"
TRANSFORMER = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
DIM = 6


def matrix(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def add_modules(
    model: Path, heads: list[dict[str, torch.Tensor]], kinds: tuple[str, ...] = (), **config: object
) -> None:
    """Write modules.json and a folder for each head, as PyLate does."""
    modules = [TRANSFORMER]
    for number, tensors in enumerate(heads, 1):
        folder = model / f"{number}_Dense"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        save_file(tensors, folder / "model.safetensors")
        modules.append({"idx": number, "name": str(number), "path": folder.name, "type": DENSE})
    modules += [{"idx": 9, "name": "9", "path": "9", "type": kind} for kind in kinds]
    (model / "modules.json").write_text(json.dumps(modules))


@pytest.fixture
def model(bert: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bert, tmp_path / "model"))


def projection_of(model: Path) -> Projection | None:
    return resolve_checkpoint(str(model)).projection()


def test_a_plain_checkpoint_has_none(bert: Path) -> None:
    assert projection_of(bert) is None


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_colbert_head_is_found_in_either_format(model: Path, file: str) -> None:
    weight = matrix(DIM, HIDDEN)
    tensors = load_file(model / "model.safetensors") | {"linear.weight": weight}
    (model / "model.safetensors").unlink()
    if file.endswith(".bin"):
        torch.save(tensors, model / file)
    else:
        save_file(tensors, model / file, {"format": "pt"})
    found = projection_of(model)
    assert found is not None
    assert found.source == "ColBERT head linear.weight"
    np.testing.assert_array_equal(found.weight, weight.numpy().T)
    np.testing.assert_array_equal(found.bias, np.zeros(DIM))


def test_a_pylate_head_is_found_with_its_bias_and_in_half_precision(model: Path) -> None:
    weight, bias = matrix(DIM, HIDDEN).bfloat16(), matrix(1, DIM)[0]
    add_modules(
        model, [{"linear.weight": weight, "linear.bias": bias}], activation_function="torch.nn.modules.linear.Identity"
    )
    found = projection_of(model)
    assert found is not None
    assert found.weight.dtype == np.float32
    np.testing.assert_array_equal(found.weight, weight.float().numpy().T)
    np.testing.assert_array_equal(found.bias, bias.numpy())


def test_a_chain_of_pylate_heads_is_one_linear_map(model: Path) -> None:
    first, second = torch.nn.Linear(HIDDEN, 12), torch.nn.Linear(12, DIM)
    states = [layer.state_dict() for layer in (first, second)]
    heads = [{f"linear.{name}": tensor for name, tensor in state.items()} for state in states]
    add_modules(model, heads)
    found = projection_of(model)
    assert found is not None
    hidden = matrix(5, HIDDEN, seed=1)
    expected = second(first(hidden)).detach().numpy()
    np.testing.assert_allclose(hidden.numpy() @ found.weight + found.bias, expected, atol=1e-5)


def test_the_dense_module_of_a_sentence_encoder_is_not_for_tokens(model: Path) -> None:
    pooling = "sentence_transformers.models.Pooling"
    add_modules(model, [{"linear.weight": matrix(DIM, HIDDEN)}], kinds=(pooling,), activation_function="torch.nn.Tanh")
    assert projection_of(model) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"activation_function": "torch.nn.modules.activation.Tanh"}, r"activation\.Tanh is not linear"),
        ({"use_residual": True}, "residual connection"),
    ],
    ids=["activation", "residual"],
)
def test_a_head_that_is_not_linear_is_refused(model: Path, config: dict[str, object], message: str) -> None:
    add_modules(model, [{"linear.weight": matrix(DIM, HIDDEN)}], **config)
    with pytest.raises(ConfigError, match=message):
        projection_of(model)


def test_a_head_without_weights_or_of_another_size_is_refused(model: Path) -> None:
    add_modules(model, [{"linear.weight": matrix(DIM, HIDDEN + 1)}])
    with pytest.raises(ConfigError, match="takes 33 dimensions, the backbone gives 32"):
        projection_of(model)
    save_file({"other": matrix(1, 1)}, model / "1_Dense" / "model.safetensors")
    with pytest.raises(ConfigError, match=r"no weight file that holds linear\.weight"):
        projection_of(model)


def test_an_export_uses_the_head_instead_of_pca_and_takes_its_dimension(model: Path, tmp_path: Path) -> None:
    add_modules(model, [{"linear.weight": matrix(DIM, HIDDEN)}])
    artifact, output = run_export(make_options(tmp_path, model, dim=16))
    assert "projection: PyLate head 1_Dense" in output
    assert "projection to" not in output
    layout = Layout(artifact)
    assert read_json(layout.encoder_meta)["dim"] == DIM
    assert load_index(layout.index).spaces["text"].dim == DIM
    provenance = read_json(layout.manifest)["provenance"]
    assert provenance["settings"]["dim"] == DIM
    assert provenance["model"]["projection"] == "PyLate head 1_Dense"
