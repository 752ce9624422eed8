"""One backbone after the other: a server of it, one caller, many callers, and the cache against none."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tesserank.artifact.layout import Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.paths import CHECKOUT
from tesserank.protocol import CROSS_ENCODER, SEGMENT_RANKER
from tesserank.server import TritonServer
from tesserank_bench.latency import breakdown, single, throughput
from tesserank_bench.latency.bench import Bench, Result
from tesserank_bench.latency.device import wall
from tesserank_bench.latency.device.catalogue import enlarged
from tesserank_bench.latency.device.plan import CROSS, HEAVY, PATHS, SMALL, DevicePlan, Samples
from tesserank_bench.latency.device.repository import IDLE_PAIRS, Placement, assemble_for, with_backbone
from tesserank_bench.latency.load import PROCESSES, LoadGenerator
from tesserank_bench.latency.material import Material, read_texts
from tesserank_bench.latency.paths import HOT, TOP_K, Asker, Prepared, Served
from tesserank_bench.latency.rounds import Case
from tesserank_bench.latency.served import Settings, export, find_dataset, make_server, serving

SEGMENTS = CHECKOUT / "benchmarks" / "segments" / "latency-device.toml"
NO_CACHE = {"TESSERANK_CACHE_MIB": "0", "TESSERANK_DEVICE_CACHE_MIB": "0"}
READY_TIMEOUT_S = 1_200.0  # a 7B is read and checked several times; compilers take minutes
CORES_A_PROCESS = 3  # of the callers': as many processes as leave the server the larger part of the machine
NOTES = (
    "Backbones but minilm have random weights: they are there for their cost, not for their rankings.",
    "The cross-encoder's pair head is untrained.",
    "A pair is the text of all segments and that of the item; where both do not fit the encoder, the oldest tokens go.",
)


@dataclass(frozen=True)
class Choice:
    """What the command line chose: the backbones, and where and how they run."""

    settings: Settings
    placement: Placement
    backbones: Sequence[str]


def measure(choice: Choice, plan: DevicePlan, say: Callable[[str], None], result: Result) -> None:
    """Run everything, into ``result`` as it goes. Raises a TesserankError if an export or a server fails."""
    run = Run(choice, plan, say)
    result["setup"] = run.describe()
    result["backbones"] = {}
    for backbone in choice.backbones:
        result["backbones"][backbone] = {}
        run.measure(backbone, result["backbones"][backbone])


class Run:
    """What a run works on: an export, what is asked, and servers of it with one backbone and another."""

    def __init__(self, choice: Choice, plan: DevicePlan, say: Callable[[str], None]) -> None:
        self._choice, self._plan, self._say = choice, plan, say
        settings = choice.settings
        self._work = settings.work
        found = find_dataset(settings.data, settings.work)
        self._dataset = enlarged(found, max(plan.sizes), settings.work / "catalogue")
        say(f"export of {self._dataset.name}: minutes if it is the first, and part of no figure")
        self._exported = export(self._dataset, [SEGMENTS], settings)[SEGMENTS.stem]
        tokenizer = TextTokenizer(Layout(self._exported.artifact).tokenizer)
        texts = read_texts(self._dataset.items)
        material = Material.draw(texts, tokenizer, plan.loads.users, plan.sizes, settings.seed, plan.context)
        self._bench = Bench(plan.loads, settings.seed, material, plan.sizes, say)

    def measure(self, backbone: str, into: Result) -> None:
        """Fill ``into`` for a backbone: ``artifact``, ``single``, ``stages``, ``throughput``, ``cache``, ``wall`` and,
        if it is small, ``several``.
        """
        self._say(f"{backbone}: making and starting it")
        placement, settings = self._choice.placement, self._choice.settings
        artifact = with_backbone(self._exported, backbone, placement, self._work, settings.seed)
        into["artifact"] = load_manifest(artifact, ()).artifact_id
        into["weights_mib"] = _weights_mib(Layout(artifact).torch_encoder)
        server = self._server(artifact, backbone, placement.pairs(self._plan.pair_rows))
        with serving([server]):
            self._one_caller(backbone, server, into)
            self._many_callers(artifact, backbone, server, into)
        if backbone in SMALL:
            self._several_rankers(artifact, backbone, into)

    def _server(
        self, artifact: Path, backbone: str, pairs: dict[str, dict[str, str]], kind: str = "", **settings: Any
    ) -> TritonServer:
        name = "-".join(filter(None, ("device", backbone, kind)))
        target = self._work / "repositories" / backbone / (kind or "cached")
        repository = assemble_for(artifact, target, self._choice.placement.ranker() | pairs)
        log = self._work / f"triton-{name}.log"
        return make_server(repository, log, ready_timeout_s=READY_TIMEOUT_S, **settings)

    def _one_caller(self, backbone: str, server: TritonServer, into: Result) -> None:
        bench, plan = self._bench, self._plan
        bench.warm_up(server)
        with Served(server.urls.grpc, bench.requests, {CROSS: CROSS_ENCODER.model}) as served:
            cases = [
                Case({"path": path, "candidates": size}, count, partial(_prepare, bench, served, path, size))
                for path, samples in _samples(plan, backbone).items()
                for size, count in samples.items()
            ]
            _warm_up_cases(cases)
            single.take(bench, cases, into)
            observed = [(path, size) for path in PATHS if path != CROSS for size in plan.sizes]
            breakdown.measure_stages(bench, server, served, into, observed)

    def _many_callers(self, artifact: Path, backbone: str, server: TritonServer, into: Result) -> None:
        with LoadGenerator(caller_processes()) as generator:
            throughput.measure(self._bench, server, generator, into)
            wall.measure(self._bench, server, generator, into)
            uncached = self._server(artifact, backbone, IDLE_PAIRS, "no-cache", environment=NO_CACHE)
            with serving([uncached]):
                throughput.contest(self._bench, server, uncached, generator, into)

    def _several_rankers(self, artifact: Path, backbone: str, into: Result) -> None:
        """Fill ``into["several"]``: hot requests of many callers, and their wall, with several processes."""
        rankers = self._plan.rankers or max(2, (os.cpu_count() or 1) // 2)
        several = into["several"] = {"rankers": rankers}
        self._say(f"{backbone}: {rankers} processes of {SEGMENT_RANKER.model}")
        hot = {kind: count for kind, count in self._plan.loads.load_requests.items() if kind[0] == HOT}
        bench = replace(self._bench, plan=replace(self._plan.loads, load_requests=hot))
        server = self._server(artifact, backbone, IDLE_PAIRS, "several", rankers=rankers)
        with serving([server]), LoadGenerator(caller_processes()) as generator:
            throughput.measure(bench, server, generator, several)
            wall.measure(bench, server, generator, several)

    def describe(self) -> dict[str, Any]:
        """What was measured, of all backbones."""
        material, placement, loads = self._bench.material, self._choice.placement, self._plan.loads
        return {
            "dataset": self._dataset.name,
            "items": len(material.texts),
            "segments": {"count": material.context.segments, "tokens": material.context.tokens},
            "candidates": self._plan.sizes,
            "paths": PATHS,
            "device": placement.device,
            "torch_dtype": placement.dtype,
            "torch_compile": placement.compiler,
            "pair_rows": self._plan.pair_rows,
            "users": loads.users,
            "rounds": loads.rounds,
            "top_k": TOP_K,
            "callers": f"threads of up to {caller_processes()} processes, each with a connection of its own",
            "notes": NOTES,
        }


def caller_processes() -> int:
    """How many processes send requests."""
    return max(PROCESSES, (os.cpu_count() or 1) // CORES_A_PROCESS)


def _samples(plan: DevicePlan, backbone: str) -> dict[str, Samples]:
    return dict(plan.samples) | ({CROSS: plan.heavy} if backbone in HEAVY else {})


def _prepare(bench: Bench, served: Asker, path: str, size: int, turn: int) -> Prepared:
    return served.prepare(path, bench.material.user(turn), size)


def _warm_up_cases(cases: Sequence[Case]) -> None:
    """One request of each: what compiles or captures for a new shape is part of no figure."""
    for case in cases:
        call, check = case.prepare(0)
        check(call())


def _weights_mib(folder: Path) -> float:
    return round(sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 2**20, 1)
