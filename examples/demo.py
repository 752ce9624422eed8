"""The main job from end to end: sample catalogues → export → a real Triton server → recommendations and their latency.

make demo                      # the three scenarios, first run about three minutes, later ones under one
python -m examples.demo --help
"""

from __future__ import annotations

import argparse
import gzip
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from examples.report import Timing, print_latency, print_recommendations
from examples.requests import cold, history_text, hot, warm
from examples.sample_data import EXAMPLES, SCENARIOS, SamplePaths, Showcase, read_showcase, write_sample
from tesserank.artifact.assemble import assemble
from tesserank.artifact.manifest import load_manifest
from tesserank.errors import TesserankError
from tesserank.paths import ARTIFACTS, BUILD, MODEL_REPOSITORY, TRACKED_REPOSITORY
from tesserank.segments.reader import load_segments
from tesserank.server import TritonServer
from tesserank_client import Client, Request, TesserankClientError

CANDIDATES = 32  # few, for the cross-encoder's sake: with 100 the demo would mostly wait for it
REPEATS = {"cold": 20, "warm": 20, "hot": 50, "cross_encoder": 3}
TOP_K = 5
TIMEOUT_S = 120.0


def main() -> int:
    """Run the demo; 0 when every step of it worked."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenario", choices=SCENARIOS, action="append", help="one or more; default all")
    parser.add_argument("--artifacts", type=Path, default=ARTIFACTS, help="where exports go (%(default)s)")
    args = parser.parse_args()
    console = Console()
    # A polite kill stops the server too; and Ctrl-C works even where a shell starts background jobs with it ignored.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    started = time.perf_counter()
    try:
        timings = [run_scenario(scenario, console, args.artifacts) for scenario in args.scenario or SCENARIOS]
    except (TesserankError, TesserankClientError) as error:
        console.print(f"error: {error}", style="red", highlight=False, markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted: the server is stopped")
        return 130
    print_latency(console, timings)
    console.print(f"done in {time.perf_counter() - started:.0f} s; servers stopped")
    console.print(f"{MODEL_REPOSITORY} holds {timings[-1].scenario} now: make serve serves it")
    return 0


def run_scenario(scenario: str, console: Console, artifacts: Path = ARTIFACTS) -> Timing:
    """Export a scenario, serve it, show its user and time the server."""
    console.print(f"[bold]{scenario}[/]: sample catalogue, export, model repository")
    sample = write_sample(scenario, BUILD / "sample" / scenario)
    artifact = _export(scenario, sample, artifacts, console)
    assemble(TRACKED_REPOSITORY, artifact, MODEL_REPOSITORY)
    texts = read_texts(sample.items)
    user = read_showcase(sample.showcase)
    console.print("  starting Triton ...")
    log = BUILD / "demo" / f"{scenario}.log"
    with TritonServer(MODEL_REPOSITORY, http_port=0, grpc_port=0, metrics_port=0, log_file=log) as server:
        server.wait_answering()
        console.print(f"  Triton answers on {server.urls.grpc} (log: {log})", highlight=False)
        with Client(server.urls.grpc, timeout=TIMEOUT_S) as client:
            answer = client.recommend_many([replace(hot(user, None), top_k=TOP_K)])[0]
            print_recommendations(console, scenario, user, answer, texts)
            console.print("  timing cold, warm and hot requests and the cross-encoder ...")
            return measure(client, scenario, user, texts, load_manifest(artifact, []).precision)


def measure(client: Client, scenario: str, user: Showcase, texts: Mapping[str, str], precision: str) -> Timing:
    """Time recommend on new, grown and known users, and the cross-encoder, over the same candidates.

    Raises TesserankClientError if the server fails, RuntimeError if a request was not as cold or hot as it claims.
    """
    item_ids = [item for item in texts if texts[item]]
    candidates = item_ids[:: max(len(item_ids) // CANDIDATES, 1)][:CANDIDATES]
    encodes = load_segments(EXAMPLES / scenario / "segments.toml").history.cut != "item"

    def timed(kind: str, request: Callable[[int], Request]) -> Iterator[float]:
        for turn in range(REPEATS[kind]):
            asked = request(turn)
            started = time.perf_counter()
            answer = client.recommend_many([asked])[0]
            yield time.perf_counter() - started
            _check_kind(kind, answer.cache_hits, answer.cache_misses)

    client.recommend_many([hot(user, candidates)])  # from here on the user's own segments are cached
    samples: dict[str, Any] = {
        "hot": list(timed("hot", lambda turn: hot(user, candidates))),
        "warm": list(timed("warm", lambda turn: warm(user, candidates, item_ids, encodes, turn))),
        "cold": list(timed("cold", lambda turn: cold(user, candidates, item_ids, turn))),
    }
    pairs = [texts[item] for item in candidates]
    samples["cross_encoder"] = []
    for _ in range(REPEATS["cross_encoder"]):
        started = time.perf_counter()
        client.cross_encode(history_text(user, texts), pairs)
        samples["cross_encoder"].append(time.perf_counter() - started)
    return Timing(scenario, len(candidates), precision, **samples)


def read_texts(items: Path) -> dict[str, str]:
    """Text of each item of a sample catalogue, by id."""
    with gzip.open(items, "rt", encoding="utf-8") as lines:
        return {row["item_id"]: row["text"] for row in map(json.loads, lines)}


def _export(scenario: str, sample: SamplePaths, artifacts: Path, console: Console) -> Path:
    console.print("  loading torch and transformers ...")
    from tesserank_export.options import ExportOptions
    from tesserank_export.pipeline import Export

    options = ExportOptions(
        catalog=sample.items,
        events=sample.events,
        segments=EXAMPLES / scenario / "segments.toml",
        store=artifacts / scenario,
        work=artifacts / ".work",
    )
    return Export(options, console).run()


def _check_kind(kind: str, hits: int, misses: int) -> None:
    right = {"cold": hits == 0 and misses > 0, "warm": misses == 1, "hot": misses == 0}[kind]
    if not right:
        raise RuntimeError(f"a {kind} request found {hits} segments cached and {misses} not")


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
