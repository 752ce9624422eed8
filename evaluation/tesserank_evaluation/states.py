"""How far a training has come, in a file: written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from tesserank.errors import ArtifactError

State = dict[str, Any]


def save_state(file: Path, state: State) -> None:
    """Write tensors, numbers and what holds them; a process that is killed meanwhile leaves the old file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    torch.save(state, scratch)
    os.replace(scratch, file)


def load_state(file: Path, **parts: Any) -> State:
    """Read it, and give each of ``parts``, modules and optimizers, what it holds under their names.

    Raises ArtifactError if it cannot be read, or is of other parts than these.
    """
    try:
        state: State = torch.load(file, map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
    except Exception as error:  # torch raises classes of its own for every kind of broken file
        raise ArtifactError(f"{file} cannot be read ({error}): delete it to train anew") from error
    return state
