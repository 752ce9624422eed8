"""The model repository that a server loads: the tracked folders and, beside each model's code, the parts it needs."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

from tesserank.artifact.layout import (
    CROSS_ENCODER_PART,
    ENCODER_PART,
    INDEX_PART,
    MANIFEST,
    SEGMENTS,
    TOKENIZER_PART,
    Layout,
    served_plan,
)
from tesserank.artifact.manifest import load_manifest
from tesserank.errors import ArtifactError
from tesserank.files import link_or_copy, new_directory

VERSION = "1"
ARTIFACT = "artifact"  # the folder beside model.py
PARTS_OF_MODEL = {
    "segment_encoder": (ENCODER_PART,),
    "segment_embedder": (TOKENIZER_PART, INDEX_PART),
    "segmented_maxsim": (INDEX_PART,),
    "segment_ranker": (TOKENIZER_PART, INDEX_PART, ENCODER_PART),
    "cross_encoder": (CROSS_ENCODER_PART, TOKENIZER_PART, ENCODER_PART),
    "recommend": (),
}
_WARMUP_TEXT = b"warm up"


def assemble(tracked: Path, artifact: Path, target: Path) -> None:
    """Build ``target`` from the tracked repository and a verified artefact; the old one stays until the new is whole.

    Large files are hard links. Raises ArtifactError if the artefact is not sound or the tracked repository lacks a
    model.
    """
    parts = sorted({part for needed in PARTS_OF_MODEL.values() for part in needed})
    manifest = load_manifest(artifact, parts)
    with new_directory(target) as scratch:
        for model, needed in PARTS_OF_MODEL.items():
            if not (tracked / model / "config.pbtxt").is_file():
                raise ArtifactError(f"{tracked / model} holds no config.pbtxt: is {tracked} the model repository?")
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(tracked / model, scratch / model, ignore=ignore)
            version = scratch / model / VERSION
            version.mkdir(exist_ok=True)  # an ensemble's is empty, and git keeps no empty folders
            if needed:
                _link_parts(artifact, version / ARTIFACT, needed)
        _write_warmup(scratch / "cross_encoder" / "warmup" / "text")
        for plan in sorted(Layout(artifact).plans.glob("*.plan")):  # where a TensorRT backend looks for them
            link_or_copy(plan, scratch / "segment_encoder" / VERSION / served_plan(plan.name))
        # Where an ONNX Runtime backend looks for it. An int8 graph must run row by row (see OnnxEngine), which such a
        # backend does not: without the file, the configuration variant refuses to load.
        if manifest.precision != "int8":
            link_or_copy(
                Layout(artifact).encoder(manifest.precision), scratch / "segment_encoder" / VERSION / "model.onnx"
            )


def _write_warmup(path: Path) -> None:
    """The input_data_file of a model_warmup: one BYTES element as Triton serialises it, its length in front."""
    path.parent.mkdir()
    path.write_bytes(struct.pack("<I", len(_WARMUP_TEXT)) + _WARMUP_TEXT)


def _link_parts(artifact: Path, target: Path, parts: tuple[str, ...]) -> None:
    for name in (MANIFEST, SEGMENTS):
        link_or_copy(artifact / name, target / name)
    for part in parts:
        for path in sorted((artifact / part).rglob("*")):
            if path.is_file():
                link_or_copy(path, target / path.relative_to(artifact))
