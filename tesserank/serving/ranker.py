"""The whole request path in one process: a request's arrays → segments → vectors → scores → the answer's arrays."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tesserank.artifact.bundle import open_segments
from tesserank.artifact.layout import Layout
from tesserank.encoding.batch import BUCKETS, Encode, EncoderRows
from tesserank.encoding.cache import SegmentCache
from tesserank.encoding.providers import AUTO, CPU
from tesserank.errors import ConfigError, RequestError
from tesserank.index import ItemIndex, load_index
from tesserank.search import open_proposer
from tesserank.segments.config import SegmentsConfig
from tesserank.serving import stages
from tesserank.serving.embedder import EmbeddedUsers, PlannedUsers, SegmentEmbedder
from tesserank.serving.pack import RankingPacker, segment_arrays
from tesserank.serving.request import RankingOptions
from tesserank.serving.scorer import Ranking, Scorer, SegmentScorer
from tesserank.serving.stages import StageClock
from tesserank.serving.unpack import ranking_options, user_contexts

Arrays = dict[str, NDArray[Any]]
_Waiting = tuple[EmbeddedUsers, list[RankingOptions]]  # of a request among those that are ranked together


@dataclass
class PlannedRequest:
    """A request that is understood, and waits for the vectors that it misses."""

    users: PlannedUsers
    options: list[RankingOptions]
    planned_at: float = field(default_factory=time.perf_counter)

    @property
    def is_hot(self) -> bool:
        """Whether the encoder is not needed."""
        return not self.users.missing


class SegmentRanker:
    """Answers requests of the model ``segment_ranker``.

    ``answer`` does it at once; ``plan``, ``encode`` and ``finish`` are its three steps, so that requests that need the
    encoder can wait for it together while others are answered, and ``finish_all`` is the last one for many. All may be
    called from several threads.
    """

    def __init__(self, embedder: SegmentEmbedder, scorer: Scorer, clock: StageClock | None = None) -> None:
        self._embedder = embedder
        self._scorer = scorer
        self._pack = RankingPacker(embedder.index)
        self._clock = clock or StageClock()

    @classmethod
    def open(
        cls,
        root: Path,
        cache: SegmentCache,
        encode: Encode,
        encoder_rows: EncoderRows = BUCKETS,
        maxsim_threads: int = 1,
        clock: StageClock | None = None,
        device: str = CPU,
    ) -> SegmentRanker:
        """The ranker of an artefact, or of its parts tokenizer and index, warmed up; it scores on ``device``.

        Raises ArtifactError or ConfigError if they are not usable.
        """
        clock = clock or StageClock()
        index = load_index(Layout(root).index)
        scorer = open_scorer(root, index, open_segments(root, index), maxsim_threads, device)
        embedder = SegmentEmbedder.open(
            root, cache, clock.measured_encoder(encode), encoder_rows, index=index, form=scorer.form
        )
        return cls(embedder, scorer, clock)

    def answer(self, arrays: Arrays) -> Arrays:
        """The arrays of one request's answer. Raises a RequestError if the request cannot be answered."""
        request = self.plan(arrays)
        if not request.is_hot:
            self.encode([request])
        return self.finish(request)

    def plan(self, arrays: Arrays) -> PlannedRequest:
        """Read a request, and find out what it misses. Raises a RequestError if it cannot be used."""
        with self._clock.measure(stages.UNPACK):
            contexts, options = user_contexts(arrays), ranking_options(arrays)
        with self._clock.measure(stages.TOKENISE):
            return PlannedRequest(self._embedder.plan(contexts), options)

    def encode(self, requests: Sequence[PlannedRequest]) -> None:
        """Encode what the requests miss, all of it together."""
        now = time.perf_counter()
        for request in requests:
            self._clock.add(stages.WAIT, now - request.planned_at)
        self._embedder.encode([request.users for request in requests])

    @property
    def together(self) -> int:
        """How many requests ``finish_all`` is best given at once."""
        return self._scorer.together

    def finish(self, request: PlannedRequest) -> Arrays:
        """The answer of a request that misses nothing any more. Raises a RequestError if an option cannot be used."""
        embedded = self._gathered(request)
        return self._packed(embedded, self._scorer.rank(embedded.segments, request.options))

    def finish_all(self, requests: Sequence[PlannedRequest]) -> Iterator[tuple[int, Arrays | Exception]]:
        """Of each request that misses nothing any more its place and its answer, or its error, as soon as it is there:
        they are ranked together.
        """
        waiting: dict[int, _Waiting] = {}
        for place, request in enumerate(requests):
            try:
                waiting[place] = self._gathered(request), request.options
            except Exception as error:
                yield place, error
        yield from self._finished(waiting)

    def _finished(self, waiting: dict[int, _Waiting]) -> Iterator[tuple[int, Arrays | Exception]]:
        """Takes those that it yields out of ``waiting``."""
        users = [(place, user) for place, (embedded, _) in waiting.items() for user in embedded.segments]
        options = [option for _, own in waiting.values() for option in own]
        ranked: dict[int, dict[int, Ranking]] = {place: {} for place in waiting}
        try:
            for number, ranking in self._scorer.rank_each([user for _, user in users], options):
                place = users[number][0]
                ranked[place][number] = ranking
                if len(ranked[place]) == len(waiting[place][0].segments):
                    embedded, _ = waiting.pop(place)
                    yield place, self._answer(embedded, [own for _, own in sorted(ranked[place].items())])
            return
        except Exception as error:  # of one of those that are left, whatever it is: no other's client must hear of it
            failure = error
        places = list(waiting)
        if len(places) <= 1:
            yield from ((place, failure) for place in places)
            return
        if not isinstance(failure, RequestError):
            traceback.print_exception(failure)
        for half in (places[: len(places) // 2], places[len(places) // 2 :]):
            yield from self._finished({place: waiting[place] for place in half})

    def _gathered(self, request: PlannedRequest) -> EmbeddedUsers:
        with self._clock.measure(stages.GATHER):
            return self._embedder.finish(request.users)

    def _answer(self, embedded: EmbeddedUsers, rankings: Sequence[Ranking]) -> Arrays | Exception:
        try:
            return self._packed(embedded, rankings)
        except Exception as error:
            return error

    def _packed(self, embedded: EmbeddedUsers, rankings: Sequence[Ranking]) -> Arrays:
        for ranking in rankings:
            for stage, seconds in ranking.seconds.items():
                self._clock.add(stage, seconds)
        with self._clock.measure(stages.PACK):
            return self._pack(rankings, max(map(len, embedded.segments))) | segment_arrays(embedded)


def open_scorer(
    root: Path, index: ItemIndex, config: SegmentsConfig, threads: int, device: str = CPU, looks_up: bool = True
) -> Scorer:
    """The scorer of an artefact's index, warmed up; on the CPU it searches the catalogue as the segments file says.
    Without ``looks_up`` it is given the vectors of all segments: see ``DeviceScorer``.

    Raises ArtifactError if the index was not exported for that, ConfigError for a device that cannot be had.
    """
    if device != CPU and (there := _on_device(index, config, device, looks_up)) is not None:
        return there
    proposer = open_proposer(Layout(root).index, index, config, threads)
    scorer = SegmentScorer.threaded(index, config, threads, proposer)
    scorer.warm_up()
    return scorer


def _on_device(index: ItemIndex, config: SegmentsConfig, device: str, looks_up: bool) -> Scorer | None:
    """The scorer of a GPU; None where the device ``auto`` finds none."""
    try:
        from tesserank.devices import choose_device
        from tesserank.serving.device_scorer import DeviceScorer  # here: torch and triton take seconds, and gigabytes
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"device {device} needs {error.name}, which is not installed: pip install torch with CUDA (docs/gpu.md), "
            f"or choose the device {CPU}"
        ) from error
    if device == AUTO and choose_device(device).type == CPU:
        return None
    scorer = DeviceScorer(index, config, device, looks_up)
    scorer.warm_up()
    return scorer
