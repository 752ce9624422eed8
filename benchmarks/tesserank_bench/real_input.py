"""Real catalogues through the real pipeline: what the export costs, and whether the server ranks as the reference does.

    tesserank bench real-input --dataset amazon_beauty --segments examples/ecommerce/segments.toml

Exports without each user's last event, serves, and asks for 200 users' top 10 of the whole catalogue; the same users go
through the float64 reference in process. NDCG@10 is of the event left out (plain protocol: all earlier events known).
Exit status 0, also when the dataset is absent, which is said; 1 if a ranking differs.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tesserank.artifact.assemble import assemble
from tesserank.artifact.layout import PARTS, PRECISIONS, Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.artifact.store import current_artifact
from tesserank.encoding.cache import SegmentCache
from tesserank.encoding.engine import OnnxEngine
from tesserank.paths import BUILD, TRACKED_REPOSITORY
from tesserank.server import TritonServer
from tesserank.serving.embedder import SegmentEmbedder
from tesserank.serving.request import RankingOptions, UserContext
from tesserank.serving.scorer import SegmentScorer
from tesserank_bench.results import deliver
from tesserank_client import Client, Event
from tesserank_evaluation.conditions import Machine

DATA = Path("../shared/data")
TOP_K = 10
USERS, QUICK_USERS = 200, 20
User = tuple[str, list[Event], str]  # id, history, the item left out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``tesserank bench real-input``."""
    parser.add_argument("--dataset", required=True, help="a folder with items.jsonl.gz and events.csv.gz")
    parser.add_argument("--data", type=Path, default=DATA, help="where datasets lie (%(default)s)")
    parser.add_argument("--segments", type=Path, required=True, help="segments file of the export")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of the encoder (%(default)s)")
    parser.add_argument("--users", type=int, help=f"who are asked for (default: {USERS}, {QUICK_USERS} with --quick)")


def run(args: argparse.Namespace) -> int:
    """Run on one dataset."""
    source = args.data / args.dataset
    if not source.is_dir():
        print(f"skipped: no dataset at {source}")
        return 0
    machine = Machine(args.seed)
    build = BUILD / "real" / args.dataset
    histories, train = split_last(source / "events.csv.gz", build)
    export = run_export(args.dataset, source / "items.jsonl.gz", train, args.segments, args.precision, build)
    artifact = current_artifact(build / "artifacts" / args.dataset)
    users = choose_users(histories, args.users or (QUICK_USERS if args.quick else USERS), args.seed)
    served = ask_server(artifact, build, users)
    expected = ask_reference(artifact, users)
    result = {
        "conditions": machine.conditions(),
        "dataset": args.dataset,
        "segments": str(args.segments),
        "encoder_precision": args.precision,
        "export": export,
        "parity": load_manifest(artifact, PARTS).provenance["tolerances"] | {"measured": _read_parity(artifact)},
        "bytes": part_sizes(artifact),
        "users": len(users),
        "longest_history": max(len(history) for _, history, _ in users),
        "same_top_10": sum(a == b for a, b in zip(served["answers"], expected, strict=True)),
        "same_top_10_as_sets": sum(set(a) == set(b) for a, b in zip(served["answers"], expected, strict=True)),
        "ndcg_at_10": {"served": ndcg(served["answers"], users), "reference": ndcg(expected, users)},
        "p50_ms": served["p50_ms"],
    }
    print({key: value for key, value in result.items() if key not in ("conditions", "parity")})
    deliver(args, f"real-input-{args.dataset}{'' if args.precision == 'fp32' else '-' + args.precision}", result)
    return 0 if result["same_top_10"] == len(users) else 1


def split_last(events: Path, build: Path) -> tuple[dict[str, list[Event]], Path]:
    """Each user's events, and a log without each user's last one: the same bytes every time, as exports go by them."""
    with gzip.open(events, "rt", encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    last = {row["user_id"]: number for number, row in enumerate(rows)}
    histories: dict[str, list[Event]] = {}
    for row in rows:
        histories.setdefault(row["user_id"], []).append(Event(row["item_id"], int(row["timestamp"]), row["kind"]))
    build.mkdir(parents=True, exist_ok=True)
    train = build / "train.csv.gz"
    with gzip.GzipFile(train, "wb", mtime=0) as packed, io.TextIOWrapper(packed, encoding="utf-8", newline="") as text:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(row for number, row in enumerate(rows) if last[row["user_id"]] != number)
    return histories, train


def run_export(name: str, catalog: Path, events: Path, segments: Path, precision: str, build: Path) -> dict[str, float]:
    """Export in a process of its own, from nothing: seconds and peak memory."""
    shutil.rmtree(build / "artifacts", ignore_errors=True)
    command = [sys.executable, "-m", "tesserank", "export", "--catalog", str(catalog), "--events", str(events)]
    command += [
        "--segments",
        str(segments),
        "--precision",
        precision,
        "--name",
        name,
        "--artifacts",
        str(build / "artifacts"),
    ]
    command += ["--model-repository", str(build / "model_repository")]
    started = time.perf_counter()
    pid = os.spawnv(os.P_NOWAIT, sys.executable, command)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"export ended with status {os.waitstatus_to_exitcode(status)}")
    return {"seconds": round(time.perf_counter() - started, 1), "peak_mib": round(usage.ru_maxrss / 1024)}


def choose_users(histories: dict[str, list[Event]], count: int, seed: int) -> list[User]:
    """Users with at least three distinct items, whose last item is not among the earlier ones."""
    eligible = []
    for user, events in histories.items():
        *past, target = events
        items = {event.item_id for event in past}
        if len(items) >= 2 and target.item_id not in items:
            eligible.append((user, past, target.item_id))
    order = np.random.default_rng(seed).permutation(len(eligible))[:count]
    return [eligible[position] for position in order]


def ask_server(artifact: Path, build: Path, users: Sequence[User]) -> dict[str, Any]:
    """Top 10 of each user through gRPC, and the median latency."""
    assemble(TRACKED_REPOSITORY, artifact, build / "model_repository")
    answers, seconds = [], []
    with (
        TritonServer(build / "model_repository", http_port=0, grpc_port=0, metrics_port=0) as server,
        Client(server.urls.grpc, timeout=60.0) as client,
    ):
        server.wait_answering()
        for _, history, _ in users:
            started = time.perf_counter()
            answer = client.recommend(history=history, top_k=TOP_K)
            seconds.append(time.perf_counter() - started)
            answers.append(list(answer.item_ids))
    return {"answers": answers, "p50_ms": round(median(seconds) * 1e3, 2)}


def ask_reference(artifact: Path, users: Sequence[User]) -> list[list[str]]:
    """The same through the float64 reference, in process and one user at a time."""
    precision = load_manifest(artifact, PARTS).precision
    engine = OnnxEngine.for_precision(Layout(artifact).encoder(precision), precision, threads=2)
    embedder = SegmentEmbedder.open(artifact, SegmentCache(0), engine)
    scorer = SegmentScorer.reference(embedder.index, embedder.config)
    answers = []
    for _, history, _ in users:
        ids = [event.item_id.encode() for event in history]
        stamps = [event.timestamp or 0 for event in history]
        context = UserContext(ids, stamps, [event.kind or "" for event in history])
        [ranking] = scorer.rank(embedder.embed([context]).segments, [RankingOptions(history=ids, top_k=TOP_K)])
        answers.append([embedder.index.item_ids[row] for row in ranking.rows])
    return answers


def ndcg(answers: Sequence[list[str]], users: Sequence[User]) -> float:
    """Mean of 1 / log2(1 + rank) of the item left out, 0 beyond the top 10."""
    gains = [1 / np.log2(2 + a.index(t)) if t in a else 0.0 for a, (_, _, t) in zip(answers, users, strict=True)]
    return round(float(np.mean(gains)), 4)


def part_sizes(artifact: Path) -> dict[str, int]:
    """Bytes of each part and of each space of the index."""
    files = load_manifest(artifact, PARTS).files
    sizes: dict[str, int] = {}
    for name, entry in files.items():
        part = "/".join(name.split("/")[:2]) if name.startswith("index/") else name.split("/")[0]
        sizes[part] = sizes.get(part, 0) + entry.bytes
    return sizes


def _read_parity(artifact: Path) -> Any:
    return json.loads(Layout(artifact).parity.read_text(encoding="utf-8"))
