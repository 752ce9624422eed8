"""Default places, relative to where a command runs or to this checkout. The only place that names them."""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
TRACKED_REPOSITORY = CHECKOUT / "model_repository"
ARTIFACTS = Path("artifacts")
MODEL_REPOSITORY = Path("build/model_repository")
