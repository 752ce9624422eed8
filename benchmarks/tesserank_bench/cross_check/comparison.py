"""Two load generators on one server: where their figures agree, and what tells them apart where they do not."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

TOLERANCE = 0.1  # of a figure of perf_analyzer's
COMPARED = ("p50_ms", "p95_ms", "p99_ms", "throughput_per_s")
OURS, THEIRS = "tesserank", "perf_analyzer"

Verdict = Literal["agree", "within the spread of the rounds", "differ"]
Round = Mapping[str, Mapping[str, float]]  # figures, by whose they are


@dataclass(frozen=True)
class Comparison:
    """One figure: medians of the rounds, and tesserank's as a share above perf_analyzer's."""

    figure: str
    tesserank: float
    perf_analyzer: float
    difference: float
    verdict: Verdict


def compare(rounds: Sequence[Round]) -> list[Comparison]:
    """Each figure of rounds that have one of both.

    ``agree``: medians within TOLERANCE. Beyond, the figures are told apart only if no round of the one lies in the
    range of the other's: else the difference may be the machine's.
    """
    return [_compare(figure, rounds) for figure in COMPARED]


def _compare(figure: str, rounds: Sequence[Round]) -> Comparison:
    ours, theirs = ([each[name][figure] for each in rounds] for name in (OURS, THEIRS))
    median, their_median = statistics.median(ours), statistics.median(theirs)
    difference = median / their_median - 1
    apart = max(ours) < min(theirs) or max(theirs) < min(ours)
    verdict: Verdict = "agree"
    if abs(difference) > TOLERANCE:
        verdict = "differ" if apart else "within the spread of the rounds"
    return Comparison(figure, round(median, 3), round(their_median, 3), round(difference, 4), verdict)


def between_ms(users: int, figures: Mapping[str, float]) -> float:
    """Milliseconds from an answer to the same user's next request, on average: users / throughput − mean latency.

    By Little's law (J. D. C. Little, A Proof for the Queuing Formula L = λW, Operations Research 9, 1961).
    """
    return 1e3 * users / figures["throughput_per_s"] - figures["mean_ms"]


def explain(users: int, rounds: Sequence[Round]) -> str:
    """What tells the generators apart, in milliseconds a request."""
    longer = statistics.median(each[OURS]["p50_ms"] - each[THEIRS]["p50_ms"] for each in rounds)
    ours, theirs = (statistics.median(between_ms(users, each[name]) for each in rounds) for name in (OURS, THEIRS))
    return (
        f"a median answer takes {longer:+.2f} ms longer by tesserank; from an answer to the same user's next request "
        f"tesserank lets {ours:.2f} ms pass, perf_analyzer {theirs:.2f} ms"
    )
