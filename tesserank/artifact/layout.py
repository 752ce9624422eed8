"""Where everything in an artefact lies. The only place that spells a path of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tesserank.index.storage import META as INDEX_META

MANIFEST = "manifest.json"
SEGMENTS = "segments.toml"
PARITY = "parity.json"
# A part is what a model of the repository needs or does not need, as a whole.
TOKENIZER_PART = "tokenizer"
ENCODER_PART = "encoder"
CROSS_ENCODER_PART = "cross_encoder"
INDEX_PART = "index"
PARTS = (TOKENIZER_PART, ENCODER_PART, CROSS_ENCODER_PART, INDEX_PART)
PRECISIONS = ("fp32", "int8")


@dataclass(frozen=True)
class Layout:
    """An artefact's files under its root, which may hold only some of the parts."""

    root: Path

    @property
    def manifest(self) -> Path:
        return self.root / MANIFEST

    @property
    def segments(self) -> Path:
        return self.root / SEGMENTS

    @property
    def parity(self) -> Path:
        return self.root / PARITY

    @property
    def tokenizer(self) -> Path:
        return self.root / TOKENIZER_PART / "tokenizer.json"

    @property
    def template(self) -> Path:
        return self.root / TOKENIZER_PART / "template.json"

    def encoder(self, precision: str) -> Path:
        return self.root / ENCODER_PART / f"model.{precision}.onnx"

    @property
    def encoder_meta(self) -> Path:
        return self.root / ENCODER_PART / "encoder.json"

    @property
    def plain_encoder(self) -> Path:
        """fp32 in ONNX's standard operators alone, as TensorRT reads it; only where it was exported."""
        return self.root / ENCODER_PART / "model.plain.onnx"

    @property
    def plans(self) -> Path:
        """TensorRT plans by ``plan_file``; only where they were exported."""
        return self.root / ENCODER_PART / "tensorrt"

    @property
    def torch_encoder(self) -> Path:
        """The checkpoint's configuration and weights, for the engine torch; only where it was exported."""
        return self.root / ENCODER_PART / "torch"

    @property
    def torch_projection(self) -> Path:
        return self.torch_encoder / "projection.npz"

    @property
    def torch_pair_head(self) -> Path:
        """Of the cross-encoder on the same backbone, float32 [hidden, 1]."""
        return self.torch_encoder / "pair_head.npy"

    @property
    def torch_facts(self) -> Path:
        return self.torch_encoder / "engine.json"

    def cross_encoder(self, precision: str) -> Path:
        return self.root / CROSS_ENCODER_PART / f"model.{precision}.onnx"

    @property
    def index(self) -> Path:
        return self.root / INDEX_PART

    @property
    def index_meta(self) -> Path:
        return self.index / INDEX_META

    def is_valid(self) -> bool:
        """Whether a whole artefact lies here, by its files' presence; ``load_manifest`` checks their content."""
        wanted = [self.manifest, self.segments, self.tokenizer, self.template, self.encoder_meta]
        wanted += [self.encoder(p) for p in PRECISIONS] + [self.cross_encoder(p) for p in PRECISIONS]
        return all(path.is_file() for path in wanted) and self.index.is_dir()


def plan_file(capability: tuple[int, int], version: str) -> str:
    """The name of a TensorRT plan, which runs on GPUs of one compute capability and by one version of TensorRT."""
    return f"sm{capability[0]}{capability[1]}-tensorrt{version}.plan"


def served_plan(plan: str) -> str:
    """What a plan is called beside the model that serves it: ``configs/tensorrt.pbtxt`` names them by capability."""
    return f"model.{plan.partition('-')[0]}.plan"
