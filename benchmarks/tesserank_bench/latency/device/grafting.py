"""Puts another backbone into a copy of an exported artefact; a program of its own, run by ``repository.with_backbone``.

The copy has the export's tokenizer, index and segments, so that every backbone reads the same tokens and is followed by
the same late interaction. Backbone, projection and pair head are random: there for their cost, not for rankings.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel

from tesserank.artifact.layout import ENCODER_PART, MANIFEST, Layout
from tesserank.artifact.manifest import list_files, load_manifest
from tesserank.encoding.pytorch.files import Facts
from tesserank.errors import ArtifactError, TesserankError
from tesserank.files import link_or_copy, new_directory
from tesserank_bench.latency.device.backbones import SHAPES


def main() -> int:
    """Graft; exit status 1 with the reason as the last line if that fails."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--artifact", type=Path, required=True)
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--backbone", choices=SHAPES, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--seed", type=int, required=True)
    args = parser.parse_args()
    try:
        graft(args.artifact, args.target, args.backbone, args.device, args.seed)
    except TesserankError as error:
        print(f"error: {error}")
        return 1
    return 0


def graft(artifact: Path, target: Path, backbone: str, device: str, seed: int) -> None:
    """Write ``target``, unless it is there already. Raises ArtifactError if the artefact lacks the engine torch."""
    manifest = load_manifest(artifact, [ENCODER_PART])
    name = f"{manifest.artifact_id}-{backbone}-{seed}"
    if _is_there(target, name):
        return
    own = Layout(artifact)
    facts = Facts.read(own)
    with np.load(own.torch_projection) as saved:
        dim = saved["weight"].shape[1]
    with new_directory(target) as scratch:
        for path in sorted(artifact.rglob("*")):
            if path.is_file() and path.name != MANIFEST and own.torch_encoder not in path.parents:
                link_or_copy(path, scratch / path.relative_to(artifact))
        _write_engine(Layout(scratch), backbone, facts, dim, device, seed)
        replace(manifest, artifact_id=name, files=list_files(scratch)).write(Layout(scratch).manifest)


def _is_there(target: Path, name: str) -> bool:
    try:
        return load_manifest(target, [ENCODER_PART]).artifact_id == name
    except ArtifactError:
        return False


def _write_engine(layout: Layout, backbone: str, facts: Facts, dim: int, device: str, seed: int) -> None:
    """What ``tesserank_export.torch_engine`` writes of a checkpoint. On a GPU in float16, which it takes half of."""
    torch.manual_seed(seed)
    config = SHAPES[backbone].config(facts.vocabulary, facts.max_tokens)
    with torch.device(device):
        model = AutoModel.from_config(config, dtype=torch.float32 if device == "cpu" else torch.float16)
    model.save_pretrained(layout.torch_encoder)
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((config.hidden_size, dim), dtype=np.float32)
    np.savez(layout.torch_projection, weight=weight, bias=np.zeros(dim, dtype=np.float32))
    np.save(layout.torch_pair_head, rng.standard_normal((config.hidden_size, 1), dtype=np.float32))
    head_dim = config.hidden_size // config.num_attention_heads
    # Families whose rows can be packed (docs/gpu.md).
    replace(facts, head_dim=head_dim, position_offset=0, refused=None).write(layout)


if __name__ == "__main__":
    sys.exit(main())
