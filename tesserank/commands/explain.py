"""Say why items have their scores: which segments and which pairs of tokens they came from.

In this process, from an artefact; no server is asked. Scores are those of a server of the same artefact, in float64.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text as Styled

from tesserank.arguments import check_least
from tesserank.artifact.store import current_artifact
from tesserank.commands._request import IDS, AskedUser, add_user_arguments, asked_user, ids
from tesserank.paths import ARTIFACTS

if TYPE_CHECKING:
    from tesserank.serving.explain import Explanation
    from tesserank.serving.request import RankingOptions, UserContext

_TEXT_WIDTH = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``tesserank explain``."""
    add_user_arguments(parser)
    parser.add_argument("--item", metavar="IDS", type=ids, help=f"explain these; default the best of all: {IDS}")
    parser.add_argument("--top-k", metavar="K", type=int, default=1, help="without --item: how many (%(default)s)")
    parser.add_argument("--pairs", metavar="N", type=int, default=12, help="token pairs shown an item (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with every pair, instead of tables")
    parser.add_argument(
        "--artifact",
        metavar="DIR",
        type=Path,
        default=ARTIFACTS / "default",
        help="an artefact, or a store of them, whose current one is taken (%(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Explain and print; 0. Raises TesserankError."""
    check_least(args, {"pairs": 0})
    # Here: ONNX Runtime and the kernels take seconds to load, which other commands need not wait for.
    from tesserank.artifact.layout import Layout
    from tesserank.serving.explain import Explainer

    root = args.artifact if Layout(args.artifact).is_valid() else current_artifact(args.artifact)
    user = asked_user(args)
    explanations = Explainer.open(root).explain(_context(user), _options(user, args.item, args.top_k))
    if args.json:
        print(json.dumps({"artifact": root.name, "items": [as_json(explanation) for explanation in explanations]}))
        return 0
    console = Console()
    for explanation in explanations:
        _print(console, explanation, args.pairs)
    return 0


def as_json(explanation: Explanation) -> dict[str, object]:
    """An explanation as JSON's types; ``segment`` of a pair is a position in ``segments``."""
    added = {"matches": explanation.matches, "concentration": explanation.concentration}
    return asdict(explanation) | added


def _context(user: AskedUser) -> UserContext:
    from tesserank.serving.request import Text, UserContext

    return UserContext(
        item_ids=[item_id.encode() for item_id in user.item_ids],
        timestamps=user.timestamps,
        kinds=user.kinds,
        # As they travel to a server.
        weights=None if user.weights is None else np.array(user.weights, dtype=np.float32),
        texts=[Text(name, text) for name, text in user.texts],
        timestamp=user.timestamp,
    )


def _options(user: AskedUser, items: tuple[str, ...] | None, top_k: int) -> RankingOptions:
    from tesserank.serving.request import RankingOptions

    history = [item_id.encode() for item_id in user.item_ids]
    if items is None:
        return RankingOptions(history=history, top_k=top_k)
    candidates = [item_id.encode() for item_id in items]
    return RankingOptions(candidates, history=history, top_k=len(candidates) or None, reject_unknown=True)


def _print(console: Console, explanation: Explanation, shown_pairs: int) -> None:
    console.print(Styled(f"{explanation.item_id}  {explanation.item_text}", style="bold"))
    console.print(
        f"score {explanation.score:.4f} = {explanation.baseline:.4f} that every item gets "
        f"{_signed(explanation.matches)} of matches {_signed(explanation.concentration)} of the soft maximum",
        highlight=False,
    )
    console.print(_segments(explanation))
    if shown_pairs:
        console.print(_pairs(explanation, shown_pairs))
    console.print()


def _signed(value: float) -> str:
    return f"{'−' if value < 0 else '+'} {abs(value):.4f}"


def _segments(explanation: Explanation) -> Table:
    table = Table(title="segments, the largest contribution first", title_justify="left")
    for name in ("contribution", "of matches", "segment score", "weight"):
        table.add_column(name, justify="right")
    table.add_column("segment", overflow="fold")
    table.add_column("its text", overflow="fold")
    for part in sorted(explanation.segments, key=lambda part: -abs(part.contribution)):
        numbers = (f"{part.contribution:+.4f}", f"{part.matches:+.4f}", f"{part.score:+.4f}", f"{part.weight:.3g}")
        # Styled, not str: an id or a text may hold what Rich takes for markup.
        table.add_row(*numbers, Styled(part.label), Styled(_shortened(part.text)))
    return table


def _pairs(explanation: Explanation, shown: int) -> Table:
    count = len(explanation.pairs)
    table = Table(title=f"token pairs, the largest {min(shown, count)} of {count}", title_justify="left")
    for name in ("contribution", "similarity"):
        table.add_column(name, justify="right")
    for name in ("segment's", "item's", "segment"):
        table.add_column(name, overflow="fold")
    for pair in explanation.pairs[:shown]:
        words = (pair.segment_token, pair.item_token, explanation.segments[pair.segment].label)
        table.add_row(f"{pair.contribution:+.4f}", f"{pair.similarity:+.4f}", *map(Styled, words))
    return table


def _shortened(text: str) -> str:
    return text if len(text) <= _TEXT_WIDTH else text[: _TEXT_WIDTH - 1] + "…"
