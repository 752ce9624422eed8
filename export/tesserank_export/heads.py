"""What stands on the backbone: a checkpoint's own projection to token vectors, where its training gave it one, as
ColBERT's and PyLate's do; and the baseline's pair head.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from tesserank.errors import ConfigError

_WEIGHT, _BIAS = "linear.weight", "linear.bias"
_IDENTITY = "torch.nn.modules.linear.Identity"

Tensors = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Projection:
    """A linear map from hidden states to token vectors: ``weight`` float32 [hidden, d], ``bias`` float32 [d]."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    source: str


def random_pair_head(hidden: int, seed: int) -> NDArray[np.float32]:
    """The cross-encoder's head [hidden, 1]: untrained, as the baseline is there for its cost."""
    return np.random.default_rng(seed).normal(0, hidden**-0.5, (hidden, 1)).astype(np.float32)


def own_projection(directory: Path, hidden: int) -> Projection | None:
    """PyLate's Dense modules, folded into one map, or ColBERT's ``linear.weight``; None if there is neither.

    Raises ConfigError for a head that is not a linear map of ``hidden`` dimensions.
    """
    found = _pylate_projection(directory) or _colbert_projection(directory)
    if found is not None and len(found.weight) != hidden:
        raise ConfigError(
            f"{directory}: {found.source} takes {len(found.weight)} dimensions, the backbone gives {hidden}"
        )
    return found


def _pylate_projection(directory: Path) -> Projection | None:
    path = directory / "modules.json"
    if not path.is_file():
        return None
    modules = json.loads(path.read_text(encoding="utf-8"))
    if any(module["type"].endswith(".Pooling") for module in modules):
        return None  # a sentence encoder: its Dense modules are for the pooled vector, not for tokens
    heads = [module["path"] for module in modules if module["type"].endswith(".Dense")]
    if not heads:
        return None
    weight, bias = _dense(directory / heads[0])
    for head in heads[1:]:
        following, shift = _dense(directory / head)
        weight, bias = weight @ following, bias @ following + shift
    return Projection(np.ascontiguousarray(weight), bias, f"PyLate head {', '.join(heads)}")


def _dense(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight float32 [in, out] and bias float32 [out] of one Dense module."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    activation = config.get("activation_function") or _IDENTITY
    if not activation.endswith("Identity"):
        raise ConfigError(f"{folder}: a projection with {activation} is not linear and cannot be folded in")
    if config.get("use_residual"):
        raise ConfigError(f"{folder}: a projection with a residual connection cannot be folded in")
    tensors = _tensors(folder)
    if _WEIGHT not in tensors:
        raise ConfigError(f"{folder} has a projection's config.json, but no weight file that holds {_WEIGHT}")
    weight = tensors[_WEIGHT].T
    return weight, tensors.get(_BIAS, np.zeros(weight.shape[1], dtype=np.float32))


def _colbert_projection(directory: Path) -> Projection | None:
    tensors = _tensors(directory)
    if _WEIGHT not in tensors:
        return None
    weight = np.ascontiguousarray(tensors[_WEIGHT].T)
    bias = tensors.get(_BIAS, np.zeros(weight.shape[1], dtype=np.float32))
    return Projection(weight, bias, f"ColBERT head {_WEIGHT}")


def _tensors(folder: Path) -> Tensors:
    """The head's tensors in a folder's weight files, of either format; empty if there are none."""
    found: Tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as weights:  # numpy has no bfloat16
            held = set(weights.keys())
            found |= {name: _float32(weights.get_tensor(name)) for name in (_WEIGHT, _BIAS) if name in held}
    if not found:
        for path in sorted(folder.glob("pytorch_model*.bin")):
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            found |= {name: _float32(state[name]) for name in (_WEIGHT, _BIAS) if name in state}
    return found


def _float32(tensor: Any) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.float().numpy()
    return array
