"""What the demo prints: one user's recommendations with each segment's share, and the latency table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from rich.console import Console
from rich.table import Table

from examples.sample_data import Showcase
from tesserank_client import Recommendations


@dataclass(frozen=True)
class Timing:
    """Client-side seconds of every repetition, of one scenario."""

    scenario: str
    candidates: int
    pair_precision: str
    cold: Sequence[float]
    warm: Sequence[float]
    hot: Sequence[float]
    cross_encoder: Sequence[float]

    def p50_ms(self, kind: str) -> float:
        """Median in milliseconds of cold, warm, hot or cross_encoder."""
        return float(median(getattr(self, kind)) * 1e3)

    def ratio(self, kind: str) -> float:
        """How many times longer the cross-encoder takes."""
        return self.p50_ms("cross_encoder") / self.p50_ms(kind)


def print_recommendations(
    console: Console, scenario: str, user: Showcase, answer: Recommendations, texts: Mapping[str, str]
) -> None:
    """Two tables: the items with their scores, and how much each segment contributed to each item's score."""
    console.rule(f"[bold]{scenario}")
    console.print(f"user {user.user_id}: {len(user.item_ids)} events, planted tastes: {', '.join(user.tastes)}")
    for name, text in user.texts.items():
        console.print(f"{name}: {text}", highlight=False)
    console.print(f"newest event: {texts[user.item_ids[-1]]}", highlight=False)
    items = Table("#", "item", "score", "text", title=f"recommend: top {len(answer.items)}")
    for rank, item in enumerate(answer.items, 1):
        items.add_row(str(rank), item.item_id, f"{item.score:.3f}", texts[item.item_id])
    console.print(items)
    columns = [f"#{rank}" for rank in range(1, len(answer.items) + 1)]
    shares = Table("segment", *columns, title="what each segment contributed to the scores")
    for position, label in enumerate(answer.segments):
        shares.add_row(label, *(f"{item.contributions[position]:+.3f}" for item in answer.items))
    console.print(shares)


def print_latency(console: Console, timings: Sequence[Timing]) -> None:
    """p50 of recommend and of the cross-encoder on the same user and candidates, and their ratio."""
    table = Table("scenario", "request", "p50, ms", "times faster", title="latency through Triton, gRPC, client side")
    for timing in timings:
        name = f"{timing.scenario}, {timing.candidates} candidates"
        table.add_row(name, f"cross_encoder {timing.pair_precision}", f"{timing.p50_ms('cross_encoder'):,.0f}", "1")
        for kind in ("cold", "warm", "hot"):
            table.add_row("", f"recommend, {kind}", f"{timing.p50_ms(kind):.1f}", f"{timing.ratio(kind):,.0f}")
        table.add_section()
    console.print(table)
    console.print(
        "cold: no segment cached; warm: only the newest is not; hot: all are. Same user, candidates, backbone and "
        "server. The cross-encoder's pair head is untrained: it is here for its cost, not for its ranking."
    )
