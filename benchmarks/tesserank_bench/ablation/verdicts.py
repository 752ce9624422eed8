"""What the table must show: that segmenting costs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tesserank_bench.ablation.rows import FULL, ONE_LONG, ONE_LONG_TEXT, TEXT_ALONE
from tesserank_evaluation.paired import Ranks, difference

Result = dict[str, Any]
_BY = "ndcg@10"
# Many segments, one long one: of the full configuration, and where there is nothing but the text.
COMPARED = ((FULL, ONE_LONG), (TEXT_ALONE, ONE_LONG_TEXT))


def verdicts(ranks: Ranks) -> list[Result]:
    """Many segments ≥ one long segment − 1 SE, the standard error being of the users' differences."""
    return [_judge(many, one, {name: own for (_, name), own in ranks.items()}) for many, one in COMPARED]


def _judge(many: str, one: str, ranks: Mapping[str, Any]) -> Result:
    judged: Result = {"name": f"{many} ≥ {one} − 1 SE", "difference": None, "verdict": "not measured"}
    if many in ranks and one in ranks:
        found = difference(ranks[many], ranks[one])[_BY]
        least = -(found["se"] or 0.0)
        judged |= {"difference": found, "verdict": "met" if (found["mean"] or 0.0) >= least else "not met"}
    return judged
