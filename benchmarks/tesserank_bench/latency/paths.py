"""The paths that are compared: how each asks for one user's ranking, and how it proves that it was what it claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import tritonclient.grpc as triton

from tesserank import protocol
from tesserank_bench.errors import BenchmarkError
from tesserank_bench.latency.material import SEGMENTS, BenchUser, Material
from tesserank_client import Client, Event, Recommendations, Request, Text

SESSION, WHOLE, NOTE = "session", "whole", "note"  # text segments of benchmarks/segments/latency.toml
TOP_K = 10
MIXED_TEXTS = 3  # of a request of mixed lengths
CROSS_TIMEOUT_S = 600.0
TIMEOUT_S = 60.0

# What each path is called in results and pictures, and what it does.
CROSS_FP32, CROSS_INT8 = "cross-encoder fp32", "cross-encoder int8"
ONE_SEGMENT, COLD, WARM, HOT, ITEMS = "one segment", "cold", "warm", "hot", "item segments"
PATHS = {
    CROSS_FP32: "one forward pass a pair of history and candidate, the artefact's backbone in fp32",
    CROSS_INT8: "the same, int8",
    ONE_SEGMENT: "the history as one text of 160 tokens, which any event makes a new one",
    COLD: "five text segments of 32 tokens, none of them cached",
    WARM: "the same, only the newest not cached",
    HOT: "the same, all cached",
    ITEMS: "five items of the history, a segment each in both spaces: vectors from the index, no encoder",
}


def due(path: str, segments: int = SEGMENTS) -> tuple[int, int]:
    """Of a path's request of so many segments: how many are found cached, and how many it has to encode."""
    return {ONE_SEGMENT: (0, 1), COLD: (0, segments), WARM: (segments - 1, 1), HOT: (segments, 0), ITEMS: (0, 0)}[path]


@dataclass(frozen=True)
class Requests:
    """Requests of each path. ``candidates``: how many are ranked; None is the whole catalogue."""

    material: Material

    def make(self, path: str, user: BenchUser, candidates: int | None) -> Request:
        """A user's request; what is to be new in it is new every time."""
        ranked = None if candidates is None else user.candidates[candidates]
        if path == ITEMS:
            return Request(history=history(user, SEGMENTS), candidates=ranked, top_k=TOP_K)
        return Request(texts=self._texts(path, user), candidates=ranked, top_k=TOP_K)

    def mixed(self, rng: np.random.Generator) -> Request:
        """Three sessions of one to six items each, which nobody has had before: texts of 4 to 128 tokens."""
        texts = [self.material.fresh.make(self.material.session_tokens(rng)) for _ in range(MIXED_TEXTS)]
        return Request(texts=[Text(NOTE, text) for text in texts], candidates=self.material.user(0).fewest, top_k=TOP_K)

    def _texts(self, path: str, user: BenchUser) -> Sequence[Text]:
        fresh = self.material.fresh_segment
        context = self.material.context
        if path == ONE_SEGMENT:
            return [Text(WHOLE, self.material.fresh.make(context.segments * context.tokens))]
        segments = {
            COLD: lambda: [fresh() for _ in range(context.segments)],
            WARM: lambda: [*user.segments[:-1], fresh()],
            HOT: lambda: list(user.segments),
        }[path]()
        return [Text(SESSION, text) for text in segments]


def history(user: BenchUser, events: int) -> list[Event]:
    """The newest events of a user."""
    rows = zip(user.history[-events:], user.timestamps[-events:], strict=True)
    return [Event(item, timestamp) for item, timestamp in rows]


class NotAsClaimed(BenchmarkError):
    """A request was not as cold, warm or hot as its path says: the measurement would be of something else."""


def check_cache(path: str, hits: int, misses: int, segments: int = SEGMENTS) -> None:
    """Raises NotAsClaimed unless a request found as many segments cached as its path says."""
    wanted = due(path, segments)
    if (hits, misses) != wanted:
        raise NotAsClaimed(
            f"a request of the path {path!r} found {hits} segments cached and {misses} not: "
            f"{wanted[0]} and {wanted[1]} were due"
        )


Prepared = tuple[Callable[[], Any], Callable[[Any], None]]  # a call to time, and what checks its answer


class Asker(Protocol):
    """Somebody who can be asked for a ranking: the server, or the same work in this process."""

    def prepare(self, path: str, user: BenchUser, candidates: int | None) -> Prepared:
        """A request of a path, ready to be sent. The check raises a BenchmarkError."""


class Served:
    """The server, as its client asks it; ``pair_models``: its cross-encoders by path. A context manager."""

    def __init__(self, url: str, requests: Requests, pair_models: Mapping[str, str]) -> None:
        self._client = Client(url, timeout=TIMEOUT_S)
        self._pairs = {path: PairCaller(url, model) for path, model in pair_models.items()}
        self._requests = requests

    def prepare(self, path: str, user: BenchUser, candidates: int | None) -> Prepared:
        """See ``Asker``."""
        if path in self._pairs:
            assert candidates is not None, "a cross-encoder takes minutes for a catalogue"
            return self._pairs[path](*self._requests.material.pairs(user, candidates)), _accept
        request = self._requests.make(path, user, candidates)
        check = partial(_check_answers, path, self._requests.material.context.segments)
        return partial(self._client.recommend_many, [request]), check

    def __enter__(self) -> Served:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        for caller in self._pairs.values():
            caller.close()


def _accept(answer: Any) -> None:
    """A PairCaller's call has checked its answer."""


def _check_answers(path: str, segments: int, answers: Sequence[Recommendations]) -> None:
    for answer in answers:
        check_cache(path, answer.cache_hits, answer.cache_misses, segments)


class PairCaller:
    """A cross-encoder of the repository, by its name: the client knows the first of them alone."""

    def __init__(self, url: str, model: str) -> None:
        self._client: Any = triton.InferenceServerClient(url)
        self._model = model

    def __call__(self, history_text: str, candidates: Sequence[str]) -> Callable[[], None]:
        """A call that scores all pairs; raises BenchmarkError unless every pair has a finite score."""
        history_name, candidates_name = (tensor.name for tensor in protocol.CROSS_ENCODER.inputs)
        inputs = [_strings(history_name, [history_text]), _strings(candidates_name, candidates)]

        def call() -> None:
            answer = self._client.infer(self._model, inputs, client_timeout=CROSS_TIMEOUT_S)
            scores = answer.as_numpy(protocol.CROSS_ENCODER.outputs[0].name)
            if scores.shape != (1, len(candidates)) or not np.isfinite(scores).all():
                raise BenchmarkError(f"{self._model} answered with scores {scores.shape} for {len(candidates)} pairs")

        return call

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _strings(name: str, values: Sequence[str]) -> Any:
    array = np.array([[value.encode() for value in values]], dtype=np.object_)
    tensor = triton.InferInput(name, list(array.shape), "BYTES")
    tensor.set_data_from_numpy(array)
    return tensor
