"""A fine-tuned cross-encoder on disk, and what it must have been tuned from and on, so none is taken for another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tesserank.artifact.bundle import open_template
from tesserank.artifact.layout import Layout
from tesserank.artifact.manifest import list_files
from tesserank.encoding.engines import EngineSettings, open_pair_engine
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.errors import ArtifactError
from tesserank.files import read_json
from tesserank.limits import Limits
from tesserank.serving.cross import PAIR_ROWS, PairScorer
from tesserank_evaluation.artifact import Model
from tesserank_evaluation.split import Cases
from tesserank_export.catalog import Catalog
from tesserank_export.steps import digest_of

PRECISION = "fp32"
_META = "finetuned.json"


@dataclass(frozen=True)
class Origin:
    """What a cross-encoder was, or must have been, fine-tuned from and on."""

    cases: Cases
    catalog: Catalog
    model: Model

    def described(self) -> dict[str, str]:
        """As ``finetuned.json`` has it; the digests among it are what one is known by."""
        return {
            "train_sha256": self.cases.held.digest,
            "catalog_sha256": self.catalog.sha256,
            "model_digest": self.model.digest,
            "model": self.model.name,
        }


@dataclass(frozen=True)
class FineTuned:
    """A directory with the parts tokenizer and cross_encoder of an artefact, and what they were tuned on."""

    root: Path

    @classmethod
    def on(cls, folder: Path, cases: Cases) -> FineTuned:
        """Where the one that was tuned on what a protocol keeps of a log lies, or will."""
        return cls(folder / f"cross-encoder-{cases.protocol}-{cases.held.digest[:16]}")

    @property
    def layout(self) -> Layout:
        return Layout(self.root)

    @property
    def meta_file(self) -> Path:
        return self.root / _META

    def check(self, origin: Origin, remedy: str) -> dict[str, Any]:
        """What is known of the training.

        Raises ArtifactError, naming the ``remedy`` command, if there is none, or one of another origin.
        """
        if not self.meta_file.is_file():
            raise ArtifactError(f"{self.root} has no cross-encoder fine-tuned for {origin.cases.protocol}: {remedy}")
        meta: dict[str, Any] = read_json(self.meta_file)
        expected = origin.described()
        if missing := sorted(expected.keys() - meta):
            raise ArtifactError(
                f"{self.meta_file} has no {missing[0]}, which must be {expected[missing[0]][:12]} "
                f"(of {origin.model.name}): {remedy}"
            )
        for name in ("train_sha256", "catalog_sha256"):
            if meta[name] != expected[name]:
                raise ArtifactError(
                    f"the cross-encoder in {self.root} was fine-tuned on another log or catalogue "
                    f"({name} {meta[name][:12]}, not {expected[name][:12]}): {remedy}"
                )
        began = Model(meta["model"], meta["model_digest"])
        if began.digest != origin.model.digest:
            raise ArtifactError(
                f"the cross-encoder in {self.root} was fine-tuned from another checkpoint "
                f"({began}, not {origin.model}): {remedy}"
            )
        return meta

    def identity(self) -> dict[str, Any]:
        """What tells it from itself trained further: its steps, and a hash of all that scores depend on."""
        files = {name: entry.sha256 for name, entry in list_files(self.root).items() if name != _META}
        return {"steps": read_json(self.meta_file)["steps"], "digest": digest_of(files)}

    def open(self, threads: int) -> PairScorer:
        """The scorer as it is served."""
        engine = open_pair_engine(self.root, PRECISION, EngineSettings(threads=threads))
        template = open_template(self.root)
        return PairScorer(TextTokenizer(self.layout.tokenizer), template, engine, PAIR_ROWS, Limits())
