"""Default places, relative to where a command runs or to this checkout."""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
TRACKED_REPOSITORY = CHECKOUT / "model_repository"
ARTIFACTS = Path("artifacts")
BUILD = Path("build")
MODEL_REPOSITORY = BUILD / "model_repository"
