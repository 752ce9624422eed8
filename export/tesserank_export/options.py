"""What an export is asked to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tesserank.arguments import check_least
from tesserank.errors import ConfigError
from tesserank.files import sha256_file
from tesserank_export.events import EventFields, UnknownPolicy
from tesserank_export.parity import TOLERANCES, Tolerance

TORCH, PLAIN, TENSORRT = "torch", "plain", "tensorrt"
ENGINES = (TORCH, PLAIN, TENSORRT)  # what an encoder is exported for beside ONNX Runtime
PLAN_PRECISIONS = ("fp16", "bf16", "fp8", "fp32")  # what a TensorRT plan computes in
_MAX_SEED = 2**32 - 1  # numpy's and scikit-learn's


@dataclass(frozen=True)
class ExportOptions:
    """See ``tesserank export --help``. ``store`` holds the versions of one artefact, ``work`` the steps of all."""

    catalog: Path
    store: Path
    work: Path
    model: str | None = None
    id_field: str = "item_id"
    text_field: str = "text"
    category_field: str | None = None  # None: catalog.CATEGORY_FIELD where there is one; "": no categories
    events: Path | None = None
    event_fields: EventFields = field(default_factory=EventFields)
    unknown_events: UnknownPolicy = "skip"
    hold_out: str | None = None  # a protocol of heldout: fit on what it keeps of the log
    segments: Path | None = None
    fit: bool = False  # the spaces of the history, and their weights, on the log
    dim: int = 128
    collaborative_dim: int = 128
    precision: str = "fp32"
    engines: Sequence[str] = ()  # of ENGINES
    plan_precision: str = "fp16"  # of PLAN_PRECISIONS
    threads: int = 2
    seed: int = 0
    tolerances: Mapping[str, Tolerance] = field(default_factory=lambda: dict(TOLERANCES))

    def __post_init__(self) -> None:
        """Raises ConfigError that names the flag."""
        check_least(self, {"dim": 1, "collaborative_dim": 1, "threads": 1, "seed": 0})
        if self.fit and self.events is None:
            raise ConfigError("tesserank fit needs --events: it learns from users' last items of a log")
        if self.hold_out and self.events is None:
            raise ConfigError("--hold-out needs --events: without a log there is nothing to hold out")
        if self.seed > _MAX_SEED:
            raise ConfigError(f"--seed must be at most {_MAX_SEED}, not {self.seed}")

    def log_identity(self) -> list[Any]:
        """Names the events that are learned from, for a step that does."""
        content = sha256_file(self.events) if self.events else None
        return [content, asdict(self.event_fields), self.hold_out]
