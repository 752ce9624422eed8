"""Ask a running server for one user's recommendations."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text as Styled

from tesserank.commands._request import IDS, AskedUser, add_user_arguments, asked_user, ids

if TYPE_CHECKING:
    from tesserank_client import Event, Recommendation, Recommendations, Request

EXIT_REQUEST = 2  # the request is at fault, as argparse's own
EXIT_SERVER = 3  # the server or the way to it
SHOWN_SEGMENTS = 3  # of each item in the table; --json has all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``tesserank recommend``."""
    add_user_arguments(parser)
    parser.add_argument("--candidates", metavar="IDS", type=ids, help=f"rank only these; default all items: {IDS}")
    parser.add_argument("--exclude", metavar="IDS", type=ids, default=(), help=f"do not recommend these: {IDS}")
    parser.add_argument(
        "--category", metavar="NAME", action="append", help="recommend only items of this category; repeatable"
    )
    parser.add_argument(
        "--top-k", metavar="K", type=int, help="how many items (default 10, or all candidates if fewer)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--reject-unknown", action="store_true", help="fail on ids that are not in the catalogue")
    parser.add_argument("--include-history", action="store_true", help="recommend items of the history too")
    parser.add_argument("--url", metavar="HOST:PORT", help="default 127.0.0.1:8001; over HTTP 127.0.0.1:8000")
    parser.add_argument("--protocol", choices=("grpc", "http"), default="grpc", help="default %(default)s")
    parser.add_argument("--timeout", metavar="SECONDS", type=float, default=5.0, help="default %(default)g")


def run(args: argparse.Namespace) -> int:
    """Ask, print, and return the exit status: 0, 2 (the request is at fault) or 3 (the server is)."""
    # Here, so that no other command needs the client or waits for its import.
    try:
        import tesserank_client
    except ModuleNotFoundError as error:
        if error.name != "tesserank_client":
            raise
        return _fail("tesserank-client is not installed: pip install tesserank-client", EXIT_SERVER)

    user = asked_user(args)
    try:
        with tesserank_client.Client(args.url, args.protocol, args.timeout) as client:
            [answer] = client.recommend_many([_request(user, args)])
    except tesserank_client.RequestRejectedError as error:
        return _fail(str(error), EXIT_REQUEST)
    except tesserank_client.TesserankClientError as error:
        return _fail(str(error), EXIT_SERVER)
    if args.json:
        print(json.dumps(as_json(answer)))
    else:
        _print_table(answer)
    return 0


def _request(user: AskedUser, args: argparse.Namespace) -> Request:
    from tesserank_client import Request, Text

    return Request(
        history=_events(user),
        texts=[Text(name, text) for name, text in user.texts],
        candidates=args.candidates,
        exclude=args.exclude,
        categories=args.category,
        top_k=args.top_k,
        unknown_items="reject" if args.reject_unknown else "skip",
        exclude_history=False if args.include_history else None,
        timestamp=user.timestamp,
    )


def _events(user: AskedUser) -> list[Event]:
    from tesserank_client import Event

    count = len(user.item_ids)
    timestamps: Sequence[int | None] = user.timestamps or [None] * count
    kinds: Sequence[str | None] = user.kinds or [None] * count
    weights = user.weights or [1.0] * count
    return [Event(*row) for row in zip(user.item_ids, timestamps, kinds, weights, strict=True)]


def as_json(answer: Recommendations) -> dict[str, object]:
    """The answer as JSON's types; numbers of an item are in the order of ``segments``."""
    return {
        "items": [
            {
                "item_id": item.item_id,
                "score": item.score,
                "segment_scores": list(item.segment_scores),
                "contributions": list(item.contributions),
            }
            for item in answer.items
        ],
        "segments": list(answer.segments),
        "unknown_history": answer.unknown_history,
        "unknown_candidates": answer.unknown_candidates,
        "truncated_tokens": answer.truncated_tokens,
        "cache_hits": answer.cache_hits,
        "cache_misses": answer.cache_misses,
    }


def _print_table(answer: Recommendations) -> None:
    table = Table()
    table.add_column("", justify="right")
    table.add_column("item", overflow="fold")
    table.add_column("score", justify="right")
    table.add_column(f"largest contributions of {len(answer.segments)} segments", overflow="fold")
    for rank, item in enumerate(answer.items, start=1):
        shares = _largest_contributions(item, answer.segments)
        # Styled, not str: an id or a label may hold what Rich takes for markup.
        table.add_row(str(rank), Styled(item.item_id), f"{item.score:.4f}", Styled(shares))
    console = Console()
    console.print(table)
    for note in _notes(answer):
        console.print(note, highlight=False)


def _largest_contributions(item: Recommendation, segments: tuple[str, ...]) -> str:
    pairs = sorted(zip(item.contributions, segments, strict=True), key=lambda pair: -abs(pair[0]))
    return "\n".join(f"{share:+.4f} {label}" for share, label in pairs[:SHOWN_SEGMENTS])


def _notes(answer: Recommendations) -> list[str]:
    counts = {
        "history ids not in the catalogue, skipped": answer.unknown_history,
        "candidate ids not in the catalogue, skipped": answer.unknown_candidates,
        "tokens of texts beyond their segment's limit, left out": answer.truncated_tokens,
    }
    notes = [f"{what}: {count}" for what, count in counts.items() if count]
    return [*notes, f"segments found encoded: {answer.cache_hits}, encoded now: {answer.cache_misses}"]


def _fail(message: str, status: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return status
