"""A fine-tuned cross-encoder on disk. Its folder is named by the log it was tuned on, so none is taken for another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tesserank.artifact.bundle import open_template
from tesserank.artifact.layout import Layout
from tesserank.encoding.engines import EngineSettings, open_pair_engine
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.errors import ArtifactError
from tesserank.files import read_json
from tesserank.limits import Limits
from tesserank.serving.cross import PAIR_ROWS, PairScorer
from tesserank_evaluation.split import Cases
from tesserank_export.catalog import Catalog

PRECISION = "fp32"
_META = "finetuned.json"


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

    def open(self, cases: Cases, catalog: Catalog, threads: int, remedy: str) -> tuple[PairScorer, dict[str, Any]]:
        """The scorer as it is served, and what is known of the training.

        Raises ArtifactError, naming the ``remedy`` command, if there is none, or one of another catalogue or log.
        """
        if not self.meta_file.is_file():
            raise ArtifactError(f"{self.root} has no cross-encoder fine-tuned for {cases.protocol}: {remedy}")
        meta: dict[str, Any] = read_json(self.meta_file)
        for name, expected in {"train_sha256": cases.held.digest, "catalog_sha256": catalog.sha256}.items():
            if meta[name] != expected:
                raise ArtifactError(
                    f"the cross-encoder in {self.root} was fine-tuned on another log or catalogue "
                    f"({name} {meta[name][:12]}, not {expected[:12]}): {remedy}"
                )
        engine = open_pair_engine(self.root, PRECISION, EngineSettings(threads=threads))
        template = open_template(self.root)
        return PairScorer(TextTokenizer(self.layout.tokenizer), template, engine, PAIR_ROWS, Limits()), meta
