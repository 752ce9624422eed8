"""What the serving tests stand on: the sample shop exported by the real pipeline, served, and computed offline too."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shutil
import time
import urllib.request
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from rich.console import Console

from examples.sample_data import SamplePaths
from tesserank.artifact.bundle import open_segments, open_template
from tesserank.artifact.layout import Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.encoding.cache import SegmentCache
from tesserank.encoding.engine import OnnxEngine
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.index import load_index
from tesserank.paths import CHECKOUT
from tesserank.server import TritonServer
from tesserank.serving import request as served_request
from tesserank.serving.embedder import SegmentEmbedder
from tesserank.serving.scorer import SegmentScorer
from tesserank_client import AsyncClient, Client, Event, Recommendations, Request, Text
from tesserank_client._errors import translated

# Steps of exports, by the hash of what they are made from: the first run takes most of a minute, later ones seconds.
CACHE = CHECKOUT / "build" / "test-artifacts"
KEPT_S = 86_400.0
DIM = 64
SETTLED_S = (
    0.4  # metrics that have not changed for so long will not: they follow a request within a quarter of a second
)
TIMEOUT_S = 30.0  # generous: the machine may be busy, and what is tested here is not speed
# Small enough to be exceeded by small requests; the defaults would take megabytes.
LIMITS = {
    "max_history_events": 60,
    "max_texts": 4,
    "max_text_bytes": 2_000,
    "max_segments": 18,
    "max_candidates": 700,
    "max_excluded": 50,
    "max_top_k": 660,
    "max_id_bytes": 32,
    "max_weight": 1_000,
}
MAX_EVENTS = 8
SEGMENTS = """
[history]
cut = "{cut}"
max_events = {max_events}
[history.kinds]
cart = 1.5
purchase = 2.0
ignored = 0.0
[texts.query]
token_limit = 32
[texts.profile]
token_limit = 64
weight = 0.5
[limits]
{limits}
"""
# By cut: int8 depends on who shares a batch unless the engine takes care, so one variation is served with it.
PRECISIONS = {"item": "fp32", "session": "fp32", "content": "int8"}
CUTS = tuple(PRECISIONS)
QUERIES = ("waterproof jacket for running in the rain", "a burr grinder for espresso", "gift for a gardener", "tent")
PROFILE = "Runs in the hills at weekends, drinks too much coffee, and reads about both."


def write_segments(directory: Path, cut: str) -> Path:
    """The segments file of a variation."""
    path = directory / f"{cut}.toml"
    limits = "\n".join(f"{name} = {value}" for name, value in LIMITS.items())
    path.write_text(SEGMENTS.format(cut=cut, max_events=MAX_EVENTS, limits=limits), encoding="utf-8")
    return path


def sweep_old_steps() -> None:
    """Remove steps older than a day: every change of the export's code leaves those of its older self behind."""
    work = CACHE / "work"
    for step in work.iterdir() if work.is_dir() else ():
        if step.is_dir() and time.time() - step.stat().st_mtime > KEPT_S:
            shutil.rmtree(step)


def export(sample: SamplePaths, segments: Path, store: Path, precision: str, engines: Sequence[str] = ()) -> Path:
    """Export the sample with the default checkpoint; steps of earlier runs are reused."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # what torch and transformers deprecate is no fault of the request path
        from tesserank_export.options import ExportOptions
        from tesserank_export.pipeline import Export

        options = ExportOptions(
            catalog=sample.items,
            events=sample.events,
            segments=segments,
            store=store,
            work=CACHE / "work",
            dim=DIM,
            collaborative_dim=32,
            precision=precision,
            engines=engines,
        )
        return Export(options, Console()).run()


def serve(repository: Path, rankers: int = 1) -> TritonServer:
    """A server on free ports, to be started."""
    log = repository.parent / "triton.log"
    return TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0, log_file=log, rankers=rankers)


@dataclass(frozen=True)
class Shop:
    """The sample: texts and categories of items by id, and users' events, oldest first."""

    texts: Mapping[str, str]
    users: Mapping[str, Sequence[Event]]
    category_of: Mapping[str, str]

    @classmethod
    def read(cls, sample: SamplePaths) -> Shop:
        with gzip.open(sample.items, "rt", encoding="utf-8") as lines:
            items = [json.loads(line) for line in lines]
        users: dict[str, list[Event]] = {}
        with gzip.open(sample.events, "rt", encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                event = Event(row["item_id"], int(row["timestamp"]), row["kind"])
                users.setdefault(row["user_id"], []).append(event)
        texts, categories = ({item["item_id"]: item[field] for item in items} for field in ("text", "category"))
        return cls(texts, users, categories)

    @cached_property
    def item_ids(self) -> list[str]:
        return list(self.texts)

    @cached_property
    def categories(self) -> list[str]:
        return sorted(set(self.category_of.values()))

    def history(self, user: int) -> Sequence[Event]:
        """The events of the n-th user."""
        return list(self.users.values())[user]

    def requests(self) -> dict[str, Request]:
        """Requests of every make: what is known of the user, times what is to be ranked."""
        contexts = {
            "history": {"history": self.history(0)},
            "text": {"texts": {"query": QUERIES[0]}},
            "two texts": {"texts": [Text("query", QUERIES[1], 2.0), Text("profile", PROFILE)]},
            "both": {"history": self.history(1), "texts": {"query": QUERIES[2]}},
            "weighted": {"history": [Event(e.item_id, e.timestamp, weight=0.25) for e in self.history(2)]},
        }
        chosen = self.item_ids[5:305:3]
        requests = {}
        for name, context in contexts.items():
            requests[f"{name}, whole catalogue"] = Request(**context)  # type: ignore[arg-type]
            requests[f"{name}, candidates"] = Request(**context, candidates=chosen, top_k=10)  # type: ignore[arg-type]
        requests["both, categories"] = Request(**contexts["both"], categories=self.categories[:3])  # type: ignore[arg-type]
        return requests


@dataclass(frozen=True)
class OfflineAnswer:
    """What the reference says: ids best first, scores [k], and per segment [k, K]."""

    item_ids: list[str]
    labels: list[str]
    scores: NDArray[np.float64]
    segment_scores: NDArray[np.float64]
    contributions: NDArray[np.float64]


class Offline:
    """The request path in this process: the artefact's own encoder, then late interaction in float64."""

    def __init__(self, artifact: Path) -> None:
        self.artifact = artifact
        manifest = load_manifest(artifact, [])
        layout = Layout(artifact)
        self.index = load_index(layout.index)
        self.config = open_segments(artifact, self.index)
        self._scorer = SegmentScorer.reference(self.index, self.config)
        self._embedder = SegmentEmbedder(
            index=self.index,
            config=self.config,
            template=open_template(artifact),
            tokenize=TextTokenizer(layout.tokenizer),
            cache=SegmentCache(0),
            encode=OnnxEngine.for_precision(layout.encoder(manifest.precision), manifest.precision, threads=2),
        )

    def recommend(self, request: Request) -> OfflineAnswer:
        segments = self._embedder.embed([context_of(request)]).segments
        ranking = self._scorer.rank(segments, [options_of(request)])[0]
        return OfflineAnswer(
            item_ids=[self.index.item_ids[row] for row in ranking.rows],
            labels=list(segments[0].labels),
            scores=ranking.scores,
            segment_scores=ranking.segment_scores,
            contributions=ranking.contributions,
        )


def context_of(request: Request) -> served_request.UserContext:
    events = [event if isinstance(event, Event) else Event(event) for event in request.history]
    stamps = [event.timestamp for event in events if event.timestamp is not None]
    assert isinstance(request.texts, (Mapping, Sequence))
    assert not isinstance(request.texts, str)
    texts = [Text(*pair) for pair in request.texts.items()] if isinstance(request.texts, Mapping) else request.texts
    return served_request.UserContext(
        item_ids=[event.item_id.encode() for event in events],
        timestamps=stamps or None,
        kinds=[event.kind or "" for event in events],
        weights=[event.weight for event in events],
        texts=[served_request.Text(text.name, text.text, text.weight) for text in texts],
        timestamp=request.timestamp,
    )


def options_of(request: Request) -> served_request.RankingOptions:
    return served_request.RankingOptions(
        candidates=None if request.candidates is None else [item.encode() for item in request.candidates],
        categories=None if request.categories is None else [name.encode() for name in request.categories],
        exclude=[item.encode() for item in request.exclude],
        history=[event.item_id.encode() if isinstance(event, Event) else event.encode() for event in request.history],
        top_k=request.top_k,
        exclude_history=request.exclude_history,
    )


@dataclass(frozen=True)
class Served:
    """A variation that is being served, and the same offline."""

    cut: str
    repository: Path
    server: TritonServer
    offline: Offline

    def client(self, protocol: str = "grpc") -> Client:
        return Client(self.address(protocol), protocol, TIMEOUT_S)  # type: ignore[arg-type]

    def async_client(self, protocol: str = "grpc") -> AsyncClient:
        return AsyncClient(self.address(protocol), protocol, TIMEOUT_S)  # type: ignore[arg-type]

    def address(self, protocol: str = "grpc") -> str:
        urls = self.server.urls
        return urls.grpc if protocol == "grpc" else urls.http.removeprefix("http://")

    def metrics(self, *names: str, model: str = "segment_ranker") -> list[float]:
        """Values of a model's metrics, settled; a name may end in labels, as ``name{stage="encode"}``."""
        before, values = {}, self._metrics(model)
        while values != before:
            time.sleep(SETTLED_S)
            before, values = values, self._metrics(model)
        return [values[name] for name in names]

    def _metrics(self, model: str) -> dict[str, float]:
        with urllib.request.urlopen(self.server.urls.metrics, timeout=TIMEOUT_S) as answer:
            page = answer.read().decode()
        values = {}
        for name, labels, value in re.findall(r"^(tesserank_\w+)\{(.*)\} (\S+)$", page, re.MULTILINE):
            others = [label for label in labels.split(",") if label != f'model="{model}"']
            if len(others) < len(labels.split(",")):
                values[f"{name}{{{','.join(others)}}}" if others else name] = float(value)
        return values

    def statistics(self, model: str) -> tuple[int, int]:
        """Rows that a model has answered, and executions that took."""
        with triton.InferenceServerClient(self.address()) as client:
            stats = client.get_inference_statistics(model, as_json=True)["model_stats"][0]
        return int(stats.get("inference_count", 0)), int(stats.get("execution_count", 0))

    def raw(self, model: str = "recommend", **inputs: Any) -> triton.InferResult:
        """Send tensors as they are, past the client's checks; errors are translated as the client translates them.

        An input is an array, or a pair of an array and the datatype to declare for it.
        """
        tensors = []
        for name, value in inputs.items():
            array, datatype = value if isinstance(value, tuple) else (value, _DATATYPES[value.dtype.name])
            tensor = triton.InferInput(name, list(array.shape), datatype)
            tensor.set_data_from_numpy(array)
            tensors.append(tensor)
        with triton.InferenceServerClient(self.address()) as client, translated(self.address(), TIMEOUT_S):
            return client.infer(model, tensors, client_timeout=TIMEOUT_S)


_DATATYPES = {
    "int64": "INT64",
    "int32": "INT32",
    "float32": "FP32",
    "float64": "FP64",
    "bool": "BOOL",
    "object": "BYTES",
}


def row(*values: Any, dtype: Any = object) -> NDArray[Any]:
    """One user's list as a tensor [1, n]; strings as UTF-8."""
    encoded = [value.encode() if isinstance(value, str) else value for value in values]
    return np.array([encoded], dtype=dtype)


def bits(answer: Recommendations) -> tuple[Any, ...]:
    """All that an answer says, to the bit; less the counts of the cache, which tell how it was come by."""
    numbers = (answer.scores, answer.segment_scores, answer.contributions)
    counts = (answer.unknown_history, answer.unknown_candidates, answer.truncated_tokens)
    return (answer.item_ids, answer.segments, *((array.shape, array.tobytes()) for array in numbers), *counts)
