"""Encoder, cache and scorer in one process, vectors on the device throughout: answers as through the CPU."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("tesserank_export", reason="a tiny model is exported")
pytest.importorskip("tesserank_client", reason="requests are the client's")
pytest.importorskip("sklearn", reason="exporting needs it")
pytest.importorskip("tomli_w", reason="exporting needs it")
pytest.importorskip("onnxruntime", reason="exporting needs it")
pytest.importorskip("tokenizers", reason="the request path tokenises")

from tesserank import protocol
from tesserank.artifact.layout import Layout
from tesserank.encoding.batching import EncoderCounts
from tesserank.encoding.cache import SegmentCache
from tesserank.encoding.engine import OnnxEngine
from tesserank.encoding.engines import EngineSettings
from tesserank.errors import ConfigError, InvalidArgumentError
from tesserank.serving.backend import inputs_of, open_ranker
from tesserank.serving.device_embedder import DeviceRanker, open_device_ranker
from tesserank.serving.device_scorer import DeviceScorer
from tesserank.serving.embedder import SegmentEmbedder
from tesserank.serving.pack import embedding_arrays
from tesserank.serving.ranker import Arrays, SegmentRanker
from tesserank.serving.request import RankingOptions
from tesserank.serving.scorer import SegmentScorer
from tesserank.serving.segments import SegmentBatch
from tesserank.serving.stages import ENCODE, StageClock
from tesserank.serving.unpack import user_contexts
from tesserank_client import Event, Request
from tesserank_client._request import check
from tesserank_client._tensors import encode_recommend
from tests.export.tiny import make_options, run_export, save_bert, write_events

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = 2e-3 if DEVICE == "cpu" else 2e-2  # of float32, or of float16
SEGMENTS = """
[history]
cut = "session"
session_gap_s = 100
[texts.query]
token_limit = 16
[texts.profile]
token_limit = 32
"""
SESSIONS = [Event(f"item{row}", timestamp=1_000_000 + 60 * (row // 3) * row) for row in (1, 2, 4, 5, 9, 20)]
REQUESTS = [
    Request(texts={"query": "red soap"}, top_k=5),
    Request(history=SESSIONS, texts={"query": "gentle cream for dry skin", "profile": "travel"}, top_k=7),
    Request(history=SESSIONS[:2], candidates=[f"item{row}" for row in range(30)], top_k=4),
]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("exported")
    segments = root / "segments.toml"
    segments.write_text(SEGMENTS, encoding="utf-8")
    model = save_bert(root / "tiny-bert")
    events = write_events(root / "events.csv")
    return run_export(make_options(root, model, events=events, segments=segments, engines=("torch",)))[0]


def arrays(*requests: Request) -> Arrays:
    return {tensor.name: array for tensor, array in encode_recommend([check(request) for request in requests]).inputs}


def on_device(artifact: Path, near: int, far: int, clock: StageClock | None = None) -> DeviceRanker:
    """In float32 where that can be had with packed rows, to be compared with the exported graph."""
    settings = EngineSettings("torch", DEVICE, torch_dtype="float32" if DEVICE == "cpu" else "float16")
    return open_device_ranker(artifact, settings, near, far, encoder_rows=3, clock=clock)


def cpu_embedder(artifact: Path) -> SegmentEmbedder:
    return SegmentEmbedder.open(artifact, SegmentCache(0), OnnxEngine(Layout(artifact).encoder("fp32"), threads=1))


@pytest.fixture(scope="module")
def through_the_cpu(artifact: Path) -> SegmentRanker:
    engine = OnnxEngine(Layout(artifact).encoder("fp32"), threads=1)
    return SegmentRanker.open(artifact, SegmentCache(1 << 20), engine)


# Bytes of the device's tier and of the host's: all on the device, all on the host, a little of each, no cache.
@pytest.mark.parametrize(("near", "far"), [(1 << 20, 0), (0, 1 << 20), (4_000, 1 << 20), (0, 0)])
def test_answers_are_those_of_the_cpu_cold_and_hot(
    near: int, far: int, artifact: Path, through_the_cpu: SegmentRanker
) -> None:
    opened = on_device(artifact, near, far)
    misses = {0: 0, 1: 0}
    for turn in misses:
        for request in REQUESTS:
            ours, theirs = opened.ranker.answer(arrays(request)), through_the_cpu.answer(arrays(request))
            np.testing.assert_array_equal(ours[protocol.SEGMENT_LABELS.name], theirs[protocol.SEGMENT_LABELS.name])
            # Places may be swapped where scores are all but equal, so that scores are compared by place.
            np.testing.assert_allclose(ours[protocol.SCORES.name], theirs[protocol.SCORES.name], rtol=TOLERANCE)
            shared = set(ours[protocol.ITEM_IDS.name][0]) & set(theirs[protocol.ITEM_IDS.name][0])
            assert len(shared) >= len(theirs[protocol.ITEM_IDS.name][0]) - 1
            misses[turn] += int(ours[protocol.CACHE_MISSES.name][0, 0])
    assert misses[0] > 0
    assert bool(misses[1]) == (near + far == 0), "the second time all is cached, if there is a cache"
    assert all(size <= most for size, most in zip(opened.cache.bytes_by_tier(), (near, far), strict=True))


def test_users_of_a_request_share_what_is_encoded(artifact: Path) -> None:
    clock = StageClock()
    opened = on_device(artifact, 1 << 20, 0, clock)
    answer = opened.ranker.answer(arrays(REQUESTS[0], REQUESTS[0]))
    np.testing.assert_array_equal(*answer[protocol.SCORES.name])
    assert opened.cache.counters().entries == 1
    assert clock.reading().runs[ENCODE] == 1
    assert opened.engine.counts() == EncoderCounts(batches=1, rows=1, real_tokens=4, padded_tokens=4), (
        "red soap, and a special token around"
    )


def test_requests_that_are_ranked_at_once_get_the_answers_that_each_gets_alone(artifact: Path) -> None:
    """Of the whole catalogue and of candidates, by texts and by sessions: launched together."""
    ranker = on_device(artifact, 1 << 20, 0).ranker
    asked = [arrays(request) for request in (*REQUESTS, *REQUESTS)]
    planned = [ranker.plan(own) for own in asked]
    ranker.encode(planned)
    answers = dict(ranker.finish_all(planned))
    assert len(answers) == len(asked)
    for place, own in enumerate(asked):
        found, alone = answers[place], ranker.answer(own)
        assert isinstance(found, dict)
        np.testing.assert_array_equal(found[protocol.SEGMENT_LABELS.name], alone[protocol.SEGMENT_LABELS.name])
        np.testing.assert_allclose(found[protocol.SCORES.name], alone[protocol.SCORES.name], rtol=1e-5)
        np.testing.assert_array_equal(found[protocol.ITEM_IDS.name], alone[protocol.ITEM_IDS.name])


def test_cached_vectors_own_their_memory(artifact: Path) -> None:
    """A view would keep a whole call's output alive, whatever the cache counts."""
    opened = on_device(artifact, 1 << 20, 0)
    opened.ranker.answer(arrays(*REQUESTS[:2]))
    for key in list(opened.cache._device._entries):
        vectors = opened.cache.peek(key)
        assert vectors.untyped_storage().nbytes() == vectors.nbytes


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"encoder": "torch"}, "encoder torch in the ranker's own process is for GPUs: set device to cuda"),
        ({"encoder": "onnx"}, "encoder must be segment_encoder or torch, not 'onnx'"),
    ],
)
def test_parameters_that_cannot_be_are_refused(parameters: dict[str, str], message: str, artifact: Path) -> None:
    table = {name: {"string_value": value} for name, value in ({"device": "cpu"} | parameters).items()}
    with pytest.raises(ConfigError, match=message):
        open_ranker({"model_config": json.dumps({"parameters": table})}, artifact, StageClock())


class Sent:
    """A tensor as the Python backend hands it over, on a GPU (or its stand-in) or in host memory."""

    def __init__(self, name: str, array: np.ndarray, is_cpu: bool) -> None:
        self._name, self._array, self._is_cpu = name, array, is_cpu

    def name(self) -> str:
        return self._name

    def is_cpu(self) -> bool:
        return self._is_cpu

    def as_numpy(self) -> np.ndarray:
        assert self._is_cpu, "the backend cannot make an array of what lies on a GPU"
        return self._array

    def to_dlpack(self) -> object:
        return torch.from_numpy(self._array).to(DEVICE).__dlpack__()


@pytest.mark.parametrize("is_cpu", [True, False], ids=["on the host", "on the device"])
def test_segmented_maxsim_takes_vectors_wherever_they_lie(is_cpu: bool, artifact: Path) -> None:
    embedder = cpu_embedder(artifact)
    embedded = embedder.embed(user_contexts(arrays(REQUESTS[1])))
    names = {tensor.name for tensor in protocol.SEGMENTED_MAXSIM.inputs}
    sent = [Sent(name, array, is_cpu) for name, array in embedding_arrays(embedded).items() if name in names]
    request = SimpleNamespace(inputs=lambda: sent)
    found = inputs_of(request, protocol.SEGMENTED_MAXSIM, stays=protocol.SEGMENT_EMBEDDINGS.name)
    assert isinstance(found[protocol.SEGMENT_EMBEDDINGS.name], np.ndarray if is_cpu else torch.Tensor)
    assert isinstance(found[protocol.TOKEN_WEIGHTS.name], np.ndarray)
    index, config = embedder.index, embedder.config
    spaces = [channel.space for channel in config.channels()]
    users = SegmentBatch.from_arrays(found).users(spaces, {name: space.dim for name, space in index.spaces.items()})
    options = [RankingOptions(top_k=5)]
    (there,) = DeviceScorer(index, config, DEVICE).rank(users, options)
    (wanted,) = SegmentScorer.reference(index, config).rank(embedded.segments, options)
    np.testing.assert_allclose(there.scores, wanted.scores, rtol=2e-3)


def test_vectors_that_are_no_numbers_are_refused_wherever_they_lie(artifact: Path) -> None:
    sent = embedding_arrays(cpu_embedder(artifact).embed(user_contexts(arrays(REQUESTS[0]))))
    for bad in (np.nan, np.inf, -np.inf):
        spoilt = sent[protocol.SEGMENT_EMBEDDINGS.name].copy()
        spoilt[0, 0, 0, 0] = bad
        for embeddings in (spoilt, torch.from_numpy(spoilt).to(DEVICE)):
            with pytest.raises(InvalidArgumentError, match="SEGMENT_EMBEDDINGS holds NaN or infinity"):
                SegmentBatch.from_arrays(sent | {protocol.SEGMENT_EMBEDDINGS.name: embeddings})
