"""Where torch computes. Importing this needs torch."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from tesserank.errors import ConfigError

AUTO = "auto"


def choose_device(name: str) -> torch.device:
    """ "auto" is the first GPU if there is one. Raises ConfigError for a GPU that is not there."""
    if name == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, not {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, not {name!r}")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU build"
            raise ConfigError(
                f"device {name}: torch {torch.__version__} ({built}) finds no GPU: install its CUDA build and the "
                "driver (nvidia-smi), or choose the device cpu"
            )
        if (device.index or 0) >= torch.cuda.device_count():
            raise ConfigError(f"device {name}: there are {torch.cuda.device_count()} GPUs, counted from cuda:0")
    return device


def current(device: torch.device) -> AbstractContextManager[object]:
    """Makes a GPU the one that is meant where none is named."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
