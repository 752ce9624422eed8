"""What the figures say of the targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tesserank_bench.gpu.contestants import ANSWER, KERNEL, LOOP, PEERS
from tesserank_bench.gpu.plan import ROOFLINE_TARGET

MET, NOT_MET, NOT_MEASURED = "met", "not met", "not measured"


def verdicts(shapes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One entry a target: ``shape``, ``target``, ``found`` (None: not measured) and ``verdict``."""
    return [entry for shape in shapes for entry in _of_shape(shape)]


def _of_shape(shape: Mapping[str, Any]) -> list[dict[str, Any]]:
    seconds: Mapping[str, Any] = shape.get("seconds", {})
    kernel, answer = _number(seconds.get(KERNEL)), _number(seconds.get(ANSWER))
    peers = [time for time in (_number(seconds.get(name)) for name in PEERS) if time is not None]
    found = []
    if shape["at_most_ms"] is not None:
        a_user = None if answer is None else 1e3 * answer / shape["users"]
        found.append(_verdict(shape, f"at most {shape['at_most_ms']:g} ms a user", a_user, shape["at_most_ms"], False))
    for key, name, other in (
        ("over_loop", "times a launch a segment", _number(seconds.get(LOOP))),
        ("over_peers", "times the better of the other libraries", min(peers, default=None)),
    ):
        if shape[key] is not None:
            ratio = None if kernel is None or other is None else other / kernel
            found.append(_verdict(shape, f"at least {shape[key]:g} {name}", ratio, shape[key], True))
    floor = shape["floor_seconds"]
    share = None if kernel is None or floor is None else floor / kernel
    found.append(_verdict(shape, f"at least {ROOFLINE_TARGET:g} of the roofline", share, ROOFLINE_TARGET, True))
    return found


def _verdict(
    shape: Mapping[str, Any], target: str, found: float | None, limit: float, at_least: bool
) -> dict[str, Any]:
    verdict = NOT_MEASURED
    if found is not None:
        verdict = MET if (found >= limit if at_least else found <= limit) else NOT_MET
    return {"shape": shape["name"], "target": target, "found": found, "verdict": verdict}


def _number(value: Any) -> float | None:
    return value if isinstance(value, float) else None
