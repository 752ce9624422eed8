"""The model repository of a backbone: late interaction and the cross-encoder on it, where they are to run."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tesserank.artifact.assemble import assemble
from tesserank.encoding.engines import ONNX, TORCH
from tesserank.encoding.providers import CPU
from tesserank.errors import ConfigError
from tesserank.paths import TRACKED_REPOSITORY
from tesserank.protocol import CROSS_ENCODER, SEGMENT_ENCODER, SEGMENT_RANKER
from tesserank_bench.latency.device.backbones import OWN
from tesserank_bench.latency.served import Exported, set_parameters

GRAFTING = "tesserank_bench.latency.device.grafting"


@dataclass(frozen=True)
class Placement:
    """Where the engine torch runs: ``device`` cpu, cuda or cuda:N; ``dtype`` of backbones; ``compiler`` or ""."""

    device: str
    dtype: str
    compiler: str

    @property
    def on_gpu(self) -> bool:
        """Whether that is a GPU: the ranker has the encoder in its own process there."""
        return self.device != CPU

    def ranker(self) -> dict[str, dict[str, str]]:
        """Parameters of late interaction's models."""
        torch = self._torch()
        if self.on_gpu:
            idle = {"engine": ONNX, "device": CPU}  # one backbone more would lie in the GPU's memory unused
            return {SEGMENT_RANKER.model: torch | {"encoder": TORCH}, SEGMENT_ENCODER.model: idle}
        return {SEGMENT_RANKER.model: {"device": CPU}, SEGMENT_ENCODER.model: torch}

    def pairs(self, rows: int) -> dict[str, dict[str, str]]:
        """Parameters of the cross-encoder, ``rows`` pairs a forward pass."""
        return {CROSS_ENCODER.model: self._torch() | {"pair_rows": str(rows)}}

    def _torch(self) -> dict[str, str]:
        return {"engine": TORCH, "device": self.device, "torch_dtype": self.dtype, "torch_compile": self.compiler}


IDLE_PAIRS = {CROSS_ENCODER.model: {"engine": ONNX, "device": CPU}}


def with_backbone(exported: Exported, backbone: str, placement: Placement, work: Path, seed: int) -> Path:
    """The artefact itself, or a copy of it with another backbone. Raises ConfigError if that cannot be made.

    In a process of its own: torch must not share the cores, nor a GPU's memory, with what is measured.
    """
    if backbone == OWN:
        return exported.artifact
    target = work / "backbones" / backbone
    command = [sys.executable, "-m", GRAFTING, "--artifact", str(exported.artifact), "--target", str(target)]
    command += ["--backbone", backbone, "--device", placement.device, "--seed", str(seed)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-5:])
        raise ConfigError(f"the backbone {backbone} could not be made (status {done.returncode}):\n{tail}")
    return target


def assemble_for(artifact: Path, target: Path, parameters: dict[str, dict[str, str]]) -> Path:
    """``target``, a model repository of an artefact with these parameters of its models."""
    target.parent.mkdir(parents=True, exist_ok=True)
    assemble(TRACKED_REPOSITORY, artifact, target)
    for model, values in parameters.items():
        set_parameters(target / model, values)
    return target
