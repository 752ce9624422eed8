"""The run from end to end: exports, servers, and every part of the measurement in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cached_property
from typing import Any

from threadpoolctl import threadpool_limits

from tesserank.artifact.layout import Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.index import load_index
from tesserank.paths import CHECKOUT
from tesserank.protocol import CROSS_ENCODER, SEGMENT_ENCODER, SEGMENT_RANKER
from tesserank.segments.config import TEXT_SPACE
from tesserank.server import TritonServer
from tesserank_bench.latency import breakdown, histories, quality, single, throughput
from tesserank_bench.latency.bench import Bench, Result, named
from tesserank_bench.latency.in_process import InProcess
from tesserank_bench.latency.load import PROCESSES, LoadGenerator
from tesserank_bench.latency.material import SEGMENT_TOKENS, SEGMENTS, Material, read_texts
from tesserank_bench.latency.paths import CROSS_FP32, CROSS_INT8, PATHS, TOP_K, Served
from tesserank_bench.latency.plan import SIZES, Plan
from tesserank_bench.latency.served import (
    Settings,
    add_cross_encoder,
    export,
    find_dataset,
    make_server,
    parameters,
    serving,
)

CONFIGURATIONS = CHECKOUT / "benchmarks" / "segments"
SERVED, CONTENT, UNQUANTISED = "latency", "latency-content", "latency-unquantised"  # files there
NOTES = (
    "The first export of a catalogue takes minutes and is part of no figure.",
    "Cross-encoders: few samples where a request takes half a minute, none for the whole catalogue.",
    "The cross-encoder's pair head is untrained: it is there for its cost, and its ranking is compared with nothing.",
)
NO_CACHE = {"TESSERANK_CACHE_MIB": "0"}
PAIR_PRECISIONS = {CROSS_FP32: "fp32", CROSS_INT8: "int8"}


def measure(settings: Settings, plan: Plan, say: Callable[[str], None], result: Result) -> None:
    """Run everything, into ``result`` as it goes. Raises a TesserankError if the export or a server fails."""
    run = Run(settings, plan, say)
    result["setup"] = run.describe()
    server = run.server(SERVED)
    others = [run.server(SERVED, "no-cache", NO_CACHE), run.server(CONTENT)] if plan.every_export else []
    say(f"starting {1 + len(others)} of Triton")
    with ExitStack() as stack:
        stack.enter_context(serving([server, *others]))
        # As the server's own process has it: items are spread over threads, and BLAS threads would fight them.
        stack.enter_context(threadpool_limits(1, "blas"))
        run.measure_one_caller(server, result)
        with LoadGenerator() as generator:
            throughput.measure(run.bench, server, generator, result)
            throughput.mixed(run.bench, server, generator, result)
            if others:
                throughput.contest(run.bench, server, others[0], generator, result)
        servers = dict(zip(("item", "content"), (server, *others[1:]), strict=False))
        histories.measure(run.bench, servers, result)
        histories.measure_stages(run.bench, servers, result)


class Run:
    """What a run works on: an export, what is asked, and the servers of it."""

    def __init__(self, settings: Settings, plan: Plan, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._say = say
        self.dataset = find_dataset(settings.data, settings.work)
        say(f"export of {self.dataset.name}: minutes if it is the first, and part of no figure")
        names = (SERVED, CONTENT, UNQUANTISED) if plan.every_export else (SERVED,)
        self.exports = export(self.dataset, [CONFIGURATIONS / f"{name}.toml" for name in names], settings)
        self.exported = self.exports[SERVED]
        self.pair_models = {path: self._pair_model(precision) for path, precision in PAIR_PRECISIONS.items()}
        texts = read_texts(self.dataset.items)
        sizes = [size for size in SIZES if size is None or size <= sum(1 for text in texts.values() if text.split())]
        tokenizer = TextTokenizer(Layout(self.exported.artifact).tokenizer)
        material = Material.draw(texts, tokenizer, plan.users, [size for size in sizes if size], settings.seed)
        self.bench = Bench(plan, settings.seed, material, sizes, say)

    def _pair_model(self, precision: str) -> str:
        """Name of the cross-encoder of a precision in the repository."""
        if load_manifest(self.exported.artifact, ()).precision == precision:
            return CROSS_ENCODER.model
        return add_cross_encoder(self.exported.repository, precision)

    def server(self, name: str, kind: str = "", environment: Mapping[str, str] | None = None) -> TritonServer:
        """A server of an export. All run all the time: one that nobody asks takes no processor time."""
        log = self._settings.work / f"triton-{'-'.join(filter(None, (name, kind)))}.log"
        return make_server(self.exports[name].repository, log, environment)

    def measure_one_caller(self, server: TritonServer, result: Result) -> None:
        """Everything that is asked by one caller."""
        bench, threads = self.bench, self.threads
        bench.warm_up(server)
        in_process = InProcess.open(self.exported.artifact, bench.requests, threads["encoder"], threads["maxsim"])
        for user in bench.material.users:
            in_process.warm_up(user)
        with Served(server.urls.grpc, bench.requests, self.pair_models) as served:
            single.measure(bench, served, in_process, result)
            breakdown.measure_stages(bench, server, served, result)
        breakdown.measure_bytes(bench, server, self.pair_models, result)
        references = {
            name: InProcess.reference(self.exports[export].artifact, bench.requests, threads["encoder"])
            for name, export in (("same_vectors", SERVED), ("unquantised", UNQUANTISED))
            if export in self.exports
        }
        quality.measure(bench, server.urls.grpc, references, result)

    @cached_property
    def threads(self) -> dict[str, int]:
        """Threads of the served models: what is compared has equally many."""
        found = {}
        for name, model, parameter in (
            ("encoder", SEGMENT_ENCODER.model, "encoder_threads"),
            ("cross_encoder", CROSS_ENCODER.model, "encoder_threads"),
            ("maxsim", SEGMENT_RANKER.model, "maxsim_threads"),
        ):
            found[name] = int(parameters(self.exported.repository / model)[parameter])
        return found

    def describe(self) -> dict[str, Any]:
        """What was measured: the catalogue, the artefact, and what is asked."""
        index = load_index(Layout(self.exported.artifact).index)
        manifest = load_manifest(self.exported.artifact, ())
        items = index.spaces[TEXT_SPACE].items
        return {
            "dataset": self.dataset.name,
            "items": len(index),
            "artifact": manifest.artifact_id,
            "checkpoint": manifest.provenance["model"]["name"],
            "encoder_precision": manifest.precision,
            "item_vectors": {
                "kind": items.kind,
                "dimensions": items.dim,
                "bytes": items.nbytes,
                "tokens_per_item": round(int(items.offsets[-1]) / len(items), 2),
            },
            "threads": self.threads,
            "paths": PATHS,
            "segments": {"count": SEGMENTS, "tokens": SEGMENT_TOKENS},
            "candidates": [named(size) for size in self.bench.sizes],
            "users": len(self.bench.material.users),
            "rounds": self.bench.plan.rounds,
            "top_k": TOP_K,
            "callers": f"threads of up to {PROCESSES} processes, each with a connection of its own",
            "notes": NOTES,
        }
