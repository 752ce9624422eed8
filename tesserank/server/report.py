"""What a check found: one stage, whether it works, and what to do when it does not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Status(str, Enum):
    """How a stage fared."""

    OK = "ok"
    BROKEN = "broken"
    NOT_REACHED = "not reached"  # a stage before it is broken, so this one could not be judged


@dataclass(frozen=True)
class StageReport:
    """One row of ``tesserank doctor``. ``remedy`` is empty unless the stage is broken; ``seconds`` is its duration."""

    stage: str
    status: Status
    detail: str
    remedy: str = ""
    seconds: float = 0.0

    @property
    def healthy(self) -> bool:
        """Whether the stage was reached and works."""
        return self.status is Status.OK

    def __str__(self) -> str:
        return ": ".join(part for part in (self.stage, self.detail, self.remedy) if part)
