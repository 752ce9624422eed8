"""A model repository before Triton sees it: checked, since Triton's own words for mistakes name no remedy; and as many
processes of a model as are wanted, since Triton has no option for that.
"""

from __future__ import annotations

import re
from pathlib import Path

from tesserank.errors import ServerError

_CONFIG = "config.pbtxt"
_VARIANTS = "configs"
_ONE_INSTANCE = re.compile(r"(instance_group\s*(?:\[\s*)?\{[^}]*?\bcount:\s*)1\b")


def check_repository(repository: Path, config_name: str | None) -> None:
    """Raises ServerError when there is no model in ``repository``, or no configuration variant ``config_name``."""
    models = sorted(path.parent for path in repository.glob(f"*/{_CONFIG}"))
    if not models:
        raise ServerError(f"no model repository at {repository}: make one with `make export`")
    if config_name is None:
        return
    # A model without the variant falls back to its config.pbtxt, so a misspelt name would pass without a word.
    variants = sorted({path.stem for model in models for path in (model / _VARIANTS).glob("*.pbtxt")})
    if config_name not in variants:
        raise ServerError(
            f"no model in {repository} has a configuration {config_name!r}: "
            f"--model-config-name is one of {', '.join(variants) or '(none there)'}"
        )


def with_instances(repository: Path, model: str, count: int, target: Path) -> Path:
    """Make ``target``, a repository of links to ``repository`` but for the configurations of ``model``: these ask for
    ``count`` instances of it, which for a Python model are processes.

    Raises ServerError where there is no such model, or one of its configurations does not ask for one instance.
    """
    if not (repository / model / _CONFIG).is_file():
        raise ServerError(f"no model {model} in {repository}: make one with `make export`")
    (target / model).mkdir(parents=True)
    for path in repository.iterdir():
        if path.name != model:
            (target / path.name).symlink_to(path.resolve())
    for path in (repository / model).iterdir():
        if path.name == _VARIANTS:
            (target / model / _VARIANTS).mkdir()
        elif path.name != _CONFIG:
            (target / model / path.name).symlink_to(path.resolve())
    for path in (repository / model / _CONFIG, *(repository / model / _VARIANTS).glob("*.pbtxt")):
        text, found = _ONE_INSTANCE.subn(rf"\g<1>{count}", path.read_text(encoding="utf-8"))
        if found != 1:
            raise ServerError(f"{path} does not say `count: 1` in one instance_group: rebuild it with `make export`")
        (target / path.relative_to(repository)).write_text(text, encoding="utf-8")
    return target
