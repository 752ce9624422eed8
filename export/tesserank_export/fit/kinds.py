"""What an event weighs by its kind: which other weights are worth a look, and cases with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tesserank_export.fit.cases import Cases

# Of what a kind weighs as configured. None is 0: who met nothing of another kind would have no segment to be served by.
FACTORS = (0.25, 0.5, 2.0)
LEAST_SHARE = 0.01  # of the items known, by the kind of the first event: what is rarer cannot be told from luck


def other_kind_weights(cases: Cases) -> Iterator[tuple[int, list[float]]]:
    """Kinds and what else each may weigh. The most frequent that weighs anything stays: ratios are what matters.

    A kind that is configured to weigh nothing may weigh 1.
    """
    counts = np.bincount(np.concatenate(cases.kinds), minlength=len(cases.kind_names))
    heard = np.array(cases.kind_weights) > 0
    reference = int(np.argmax(counts * heard))
    for kind in np.argsort(-counts, kind="stable").tolist():
        if kind != reference and counts[kind] >= LEAST_SHARE * counts.sum():
            configured = cases.kind_weights[kind]
            yield kind, [configured * factor for factor in FACTORS] if configured > 0 else [1.0]


def with_kind_weight(cases: Cases, kind: int, weight: float) -> Cases:
    """The same cases, in which events of a kind weigh otherwise."""
    weights = [weight if place == kind else own for place, own in enumerate(cases.kind_weights)]
    return replace(cases, kind_weights=tuple(weights))


def kind_weights(cases: Cases) -> dict[str, float]:
    """By the name of each kind."""
    return dict(zip(cases.kind_names, cases.kind_weights, strict=True))
