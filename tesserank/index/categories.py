"""Items' categories: what an allow list of a request names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tesserank.errors import ArtifactError

_SHOWN = 5


class UnknownCategoryError(LookupError):
    """A category that no item has."""


@dataclass(frozen=True)
class Categories:
    """``codes`` int32 [N]: position of the item's category in ``names``, -1 for an item without one."""

    names: tuple[str, ...]
    codes: NDArray[np.int32]

    def __post_init__(self) -> None:
        if len(self.codes) and not -1 <= int(self.codes.min()) <= int(self.codes.max()) < len(self.names):
            raise ArtifactError(
                f"category codes from {self.codes.min()} to {self.codes.max()}, but {len(self.names):,} names: "
                "rebuild the index with make export"
            )

    @staticmethod
    def of(values: Sequence[str | None]) -> Categories:
        """The categories of items in order; None or an empty string is no category."""
        names = sorted({value for value in values if value})
        position = {name: code for code, name in enumerate(names)}
        codes = (position[value] if value else -1 for value in values)
        return Categories(tuple(names), np.fromiter(codes, dtype=np.int32, count=len(values)))

    def allowed(self, wanted: Sequence[bytes]) -> NDArray[np.bool_]:
        """Which items have one of the ``wanted`` categories (names in UTF-8), bool [N].

        Raises UnknownCategoryError that names the first unknown one and some that are known.
        """
        chosen = np.zeros(len(self.names) + 1, dtype=bool)  # the last is that of code -1
        for name in wanted:
            code = self._codes.get(name)
            if code is None:
                known = ", ".join(self.names[:_SHOWN]) + (", ..." if len(self.names) > _SHOWN else "")
                shown = name.decode("utf-8", "backslashreplace")
                raise UnknownCategoryError(f"no item has '{shown}': there are {len(self.names):,} ({known})")
            chosen[code] = True
        found: NDArray[np.bool_] = chosen[self.codes]
        return found

    @cached_property
    def _codes(self) -> dict[bytes, int]:
        return {name.encode(): code for code, name in enumerate(self.names)}
