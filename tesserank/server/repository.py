"""Checks a model repository before Triton sees it: Triton's own words for these mistakes name no remedy."""

from __future__ import annotations

from pathlib import Path

from tesserank.errors import ServerError


def check_repository(repository: Path, config_name: str | None) -> None:
    """Raises ServerError when there is no model in ``repository``, or no configuration variant ``config_name``."""
    models = sorted(path.parent for path in repository.glob("*/config.pbtxt"))
    if not models:
        raise ServerError(f"no model repository at {repository}: make one with `make export`")
    if config_name is None:
        return
    # A model without the variant falls back to its config.pbtxt, so a misspelt name would pass without a word.
    variants = sorted({path.stem for model in models for path in (model / "configs").glob("*.pbtxt")})
    if config_name not in variants:
        raise ServerError(
            f"no model in {repository} has a configuration {config_name!r}: "
            f"--model-config-name is one of {', '.join(variants) or '(none there)'}"
        )
