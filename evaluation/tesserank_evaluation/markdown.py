"""Figures and tables as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence


def value(figure: Mapping[str, float | None], sign: str = "") -> str:
    """A mean with its standard error, where there is one; ``sign`` "+" shows that of a difference."""
    error = figure["se"]
    return f"{figure['mean']:{sign}.4f}" + ("" if error is None else f" ± {error:.4f}")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table."""
    yield f"| {' | '.join(header)} |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield f"| {' | '.join(row)} |"
