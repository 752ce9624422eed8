"""The same work without a server: the functions that the model segment_ranker calls, from arrays to arrays."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tesserank import protocol
from tesserank.artifact.layout import Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.encoding.cache import SegmentCache
from tesserank.encoding.engine import OnnxEngine
from tesserank.serving.embedder import SegmentEmbedder
from tesserank.serving.ranker import SegmentRanker
from tesserank.serving.scorer import SegmentScorer
from tesserank_bench.latency.material import BenchUser
from tesserank_bench.latency.paths import HOT, Prepared, Requests, check_cache
from tesserank_client import Request

# The client's own encoding, so that both ways answer the very same arrays.
from tesserank_client._request import check
from tesserank_client._tensors import encode_recommend

CACHE_BYTES = 256 << 20
Arrays = dict[str, NDArray[Any]]


class InProcess:
    """An ``Asker`` that answers in this process. The encoder is called directly, as many threads as the server's."""

    def __init__(self, ranker: SegmentRanker, requests: Requests) -> None:
        self._ranker = ranker
        self._requests = requests

    @classmethod
    def open(cls, artifact: Path, requests: Requests, encoder_threads: int, maxsim_threads: int) -> InProcess:
        """The request path as it is served."""
        ranker = SegmentRanker.open(
            artifact, SegmentCache(CACHE_BYTES), _encoder(artifact, encoder_threads), maxsim_threads=maxsim_threads
        )
        return cls(ranker, requests)

    @classmethod
    def reference(cls, artifact: Path, requests: Requests, encoder_threads: int) -> InProcess:
        """The same with late interaction in float64."""
        embedder = SegmentEmbedder.open(artifact, SegmentCache(CACHE_BYTES), _encoder(artifact, encoder_threads))
        scorer = SegmentScorer.reference(embedder.index, embedder.config)
        return cls(SegmentRanker(embedder, scorer), requests)

    def prepare(self, path: str, user: BenchUser, candidates: int | None) -> Prepared:
        """See ``Asker``."""
        arrays = arrays_of(self._requests.make(path, user, candidates))
        return partial(self._ranker.answer, arrays), partial(_check, path)

    def warm_up(self, user: BenchUser) -> None:
        """A user's segments into the cache."""
        self.top(self._requests.make(HOT, user, min(user.candidates)))

    def top(self, request: Request) -> list[str]:
        """Ids of the best items, best first."""
        ids = self._ranker.answer(arrays_of(request))[protocol.ITEM_IDS.name][0]
        return [item.decode() for item in ids if item]


def arrays_of(request: Request) -> Arrays:
    """A request as the server's models receive it."""
    return {tensor.name: array for tensor, array in encode_recommend([check(request)]).inputs}


def _check(path: str, answer: Arrays) -> None:
    hits, misses = (int(answer[tensor.name][0, 0]) for tensor in (protocol.CACHE_HITS, protocol.CACHE_MISSES))
    check_cache(path, hits, misses)


def _encoder(artifact: Path, threads: int) -> OnnxEngine:
    precision = load_manifest(artifact, []).precision
    return OnnxEngine.for_precision(Layout(artifact).encoder(precision), precision, threads)
