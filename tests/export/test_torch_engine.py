"""The engine torch on a CPU: the code that a GPU runs, but for the capture of its graphs."""

from __future__ import annotations

import codecs
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tesserank.artifact.layout import Layout
from tesserank.devices import choose_device
from tesserank.encoding.engine import OnnxEngine
from tesserank.encoding.pytorch import runner
from tesserank.encoding.pytorch.attention import can_pack
from tesserank.encoding.pytorch.engine import TorchEngine
from tesserank.encoding.pytorch.files import Facts, load_pair_encoder
from tesserank.encoding.pytorch.graphs import Replay, stand_in
from tesserank.encoding.pytorch.pairs import TorchPairs
from tesserank.encoding.pytorch.runner import Form, Runner, choose_dtype
from tesserank.encoding.template import pad_rows
from tesserank.errors import ArtifactError, ConfigError, InvalidArgumentError
from tesserank_export.checkpoint import Checkpoint, resolve_checkpoint
from tesserank_export.graph import trace_backbone, write_cross_encoder
from tesserank_export.heads import Projection, random_pair_head
from tesserank_export.torch_encoder import torch_encode
from tesserank_export.torch_engine import write_torch_engine
from tests.export.test_families import DECODERS, ENCODERS
from tests.export.tiny import HIDDEN, save_model

DIM = 16
PAIR_HEAD = random_pair_head(HIDDEN, seed=0)
TOLERANCE = 1e-5  # float32 sums in another order move components of unit vectors by 3e-7 at most
# Families whose rows cannot be packed, and why: position buckets, windows, a bias that is added to similarities.
PADDED = {
    "mpnet": "components differ",
    "modernbert": "attention within a window",
    "t5 (its encoder)": "components differ",
}


def random_projection() -> Projection:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(HIDDEN, DIM)).astype(np.float32)
    return Projection(weight, rng.normal(size=DIM).astype(np.float32), "random")


def write(checkpoint: Checkpoint, root: Path) -> Layout:
    write_torch_engine(checkpoint, random_projection(), PAIR_HEAD, checkpoint.template(), Layout(root))
    return Layout(root)


def expected(checkpoint: Checkpoint, rows: list[np.ndarray]) -> list[np.ndarray]:
    """Each row alone, by the checkpoint itself."""
    bare = replace(checkpoint.template(), prefix=(), suffix=())
    return torch_encode(checkpoint, random_projection(), [bare.compose([row.tolist()]) for row in rows])


def rows_of(lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    """Token ids that are nobody's special tokens."""
    rng = np.random.default_rng(seed)
    return [rng.integers(5, 100, length) for length in lengths]


@pytest.fixture(scope="module")
def layout(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return write(checkpoint, tmp_path_factory.mktemp("torch") / "artifact")


@pytest.fixture(scope="module")
def packing(layout: Layout) -> TorchEngine:
    return TorchEngine.open(layout, "cpu")


@pytest.fixture(scope="module")
def padding(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> TorchEngine:
    """The same encoder, told that its rows cannot be packed."""
    root = tmp_path_factory.mktemp("padded")
    other = Layout(root / "artifact")
    other.torch_encoder.parent.mkdir(parents=True)
    other.torch_encoder.symlink_to(layout.torch_encoder.resolve())
    facts = Facts.read(layout)
    replace(facts, refused="for the test").write(layout)
    try:
        return TorchEngine.open(other, "cpu")
    finally:
        facts.write(layout)


@pytest.mark.parametrize("family", [*ENCODERS, *DECODERS])
def test_every_family_says_what_the_checkpoint_says(family: str, tmp_path: Path) -> None:
    config = (ENCODERS | DECODERS)[family]
    checkpoint = resolve_checkpoint(str(save_model(tmp_path / "model", config, framed=family in ENCODERS)))
    layout = write(checkpoint, tmp_path / "artifact")
    refused = Facts.read(layout).refused
    assert (PADDED[family] in str(refused)) if family in PADDED else refused is None
    rows = rows_of([1, 17, 40, 5, 9])
    for found, wanted in zip(
        TorchEngine.open(layout, "cpu").encode_rows(rows), expected(checkpoint, rows), strict=True
    ):
        np.testing.assert_allclose(found.numpy(), wanted, atol=TOLERANCE)


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("rows", [[7, 40, 1], [9] * 64, [5] * 65])
def test_pairs_score_as_the_exported_cross_encoder_does(
    packs: bool, rows: list[int], layout: Layout, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    trace_backbone(checkpoint, tmp_path / "backbone.onnx")
    write_cross_encoder(tmp_path / "backbone.onnx", PAIR_HEAD, tmp_path / "pairs.onnx")
    facts = Facts.read(layout)
    form = Form(torch.device("cpu"), torch.float32, packs)
    pairs = TorchPairs(Runner(load_pair_encoder(layout, facts, form.dtype, packs), facts, form))
    ids, mask = pad_rows(rows_of(rows), max(rows), checkpoint.template().pad)
    np.testing.assert_allclose(
        pairs(ids, mask), OnnxEngine(tmp_path / "pairs.onnx", threads=1)(ids, mask), atol=TOLERANCE
    )
    with pytest.raises(InvalidArgumentError, match="INPUT_IDS from"):
        pairs(ids + 1000, mask)


@given(lengths=st.lists(st.integers(1, 66), min_size=1, max_size=70), seed=st.integers(0, 9))
@settings(max_examples=15, deadline=None)
def test_packed_is_padded_whatever_the_lengths(
    lengths: list[int], seed: int, packing: TorchEngine, padding: TorchEngine
) -> None:
    assert packing.packs
    assert not padding.packs
    rows = rows_of(lengths, seed)
    for a, b in zip(packing.encode_rows(rows), padding.encode_rows(rows), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=TOLERANCE)


@pytest.mark.parametrize("form", ["packing", "padding"])
def test_a_batch_with_padding_is_its_rows_and_0_where_the_mask_is(
    form: str, checkpoint: Checkpoint, request: pytest.FixtureRequest
) -> None:
    engine: TorchEngine = request.getfixturevalue(form)
    rows = rows_of([4, 9, 1])
    ids, mask = np.zeros((2, 4, 10), dtype=np.int64)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
    found = engine(ids, mask)
    assert found.dtype == np.float32
    assert found.shape == (4, 10, DIM)
    assert not found[mask == 0].any()
    for row, wanted in enumerate(expected(checkpoint, rows)):
        np.testing.assert_allclose(found[row, : len(wanted)], wanted, atol=TOLERANCE)
    np.testing.assert_array_equal(engine(np.zeros((2, 6), dtype=np.int64), np.zeros((2, 6), dtype=np.int64)), 0)
    assert [len(vectors) for vectors in engine.encode_rows([np.empty(0, dtype=np.int64)])] == [0]


class Capturing:
    """Counts what is captured, and what is replayed."""

    def __init__(self) -> None:
        self.captured = self.replayed = 0

    def __call__(self, compute: Callable[[], torch.Tensor]) -> Replay:
        self.captured += 1
        replay = stand_in(compute)

        def run() -> None:
            self.replayed += 1
            replay.run()

        return Replay(run, replay.output)


def test_a_shape_is_captured_once_and_replayed_on_other_numbers(layout: Layout, checkpoint: Checkpoint) -> None:
    capturing = Capturing()
    engine = TorchEngine.open(layout, "cpu", capture=capturing)
    kept = []
    for seed in range(3):
        rows = rows_of([20, 30 - seed], seed)  # the same bucket
        kept.append((engine.encode_rows(rows), expected(checkpoint, rows)))
    assert (capturing.captured, capturing.replayed) == (1, 3)
    engine.encode_rows(rows_of([60, 60]))
    assert (capturing.captured, capturing.replayed) == (2, 4)
    for found, wanted in kept:  # what was given out is not overwritten by later replays
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a.numpy(), b, atol=TOLERANCE)


def test_large_calls_are_not_captured(layout: Layout, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MOST_CAPTURED_TOKENS", 100)
    capturing = Capturing()
    engine = TorchEngine.open(layout, "cpu", capture=capturing)
    rows = rows_of([60, 60])
    for found, wanted in zip(engine.encode_rows(rows), expected(checkpoint, rows), strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, atol=TOLERANCE)
    assert not capturing.captured


def test_warming_up_captures_what_calls_of_those_lengths_need(layout: Layout) -> None:
    capturing = Capturing()
    engine = TorchEngine.open(layout, "cpu", capture=capturing)
    engine.warm_up((32,))
    warm = capturing.captured
    for rows in range(1, 9):
        engine.encode_rows(rows_of([32] * rows))
    assert capturing.captured == warm > 1


def test_padded_rows_are_warmed_up_too(padding: TorchEngine) -> None:
    padding.warm_up((8,))
    before = len(padding._runner.graphs)
    for rows in range(1, 9):
        padding.encode_rows(rows_of([8] * rows))
    assert len(padding._runner.graphs) == before


def test_halves_are_near(layout: Layout, checkpoint: Checkpoint) -> None:
    rows = rows_of([7, 30])
    for dtype, error in (("bfloat16", 0.1), ("float16", 0.01)):
        engine = TorchEngine.open(layout, "cpu", dtype)
        for found, wanted in zip(engine.encode_rows(rows), expected(checkpoint, rows), strict=True):
            assert found.dtype == torch.float32
            assert 0 < np.abs(found.numpy() - wanted).max() < error
            np.testing.assert_allclose(found.norm(dim=1).numpy(), 1, atol=1e-6)


def test_torch_compile_can_trace_it(layout: Layout, checkpoint: Checkpoint) -> None:
    engine = TorchEngine.open(layout, "cpu", compiler="eager")
    rows = rows_of([7, 30])
    for found, wanted in zip(engine.encode_rows(rows), expected(checkpoint, rows), strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, atol=TOLERANCE)


def test_compilers_read_utf8_where_the_locale_is_c_as_in_tritons_stub() -> None:
    code = "import locale; from tesserank.encoding.pytorch import runner; print(locale.getpreferredencoding(False)); "
    code += "runner.read_utf8(); print(locale.getpreferredencoding(False))"
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    before, after = done.stdout.split()
    assert (codecs.lookup(before).name, codecs.lookup(after).name) == ("ascii", "utf-8")


@pytest.mark.parametrize("form", ["packing", "padding"])
def test_what_a_gpu_would_not_survive_is_refused(form: str, request: pytest.FixtureRequest) -> None:
    engine: TorchEngine = request.getfixturevalue(form)
    for bad in (-1, 120):
        with pytest.raises(InvalidArgumentError, match=rf"INPUT_IDS from .*{bad}.*, the encoder knows 0 to 119"):
            engine(np.array([[5, bad]]), np.ones((1, 2), dtype=np.int64))
    with pytest.raises(InvalidArgumentError, match="rows of 67 tokens, the encoder takes 66 at most"):
        engine.encode_rows(rows_of([67]))


def test_devices_and_types_are_checked() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    for name in ("tpu", "meta", ""):
        with pytest.raises(ConfigError, match="device must be auto, cpu, cuda or cuda:N"):
            choose_device(name)
    assert choose_dtype("auto", torch.device("cpu")) == torch.float32
    with pytest.raises(ConfigError, match="torch_dtype must be auto, float32, float16, bfloat16, not 'int8'"):
        choose_dtype("int8", torch.device("cpu"))


def test_a_gpu_is_chosen_by_what_torch_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"device cuda:0: torch .* finds no GPU: .*nvidia-smi"):
        choose_device("cuda:0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ConfigError, match="device cuda:2: there are 2 GPUs, counted from cuda:0"):
        choose_device("cuda:2")
    for capability, dtype in (((9, 0), torch.bfloat16), ((7, 5), torch.float16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        assert choose_dtype("auto", torch.device("cuda")) == dtype


def test_flash_attention_has_its_limits() -> None:
    gpu = torch.device("cuda")
    assert can_pack(gpu, torch.bfloat16, 64)
    assert not can_pack(gpu, torch.float32, 64)
    assert not can_pack(gpu, torch.float16, 12)
    assert not can_pack(gpu, torch.float16, 512)
    assert can_pack(torch.device("cpu"), torch.float32, 12)


def test_files_that_cannot_be_used_are_errors(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="exported without the engine torch; export it anew with --engine torch"):
        TorchEngine.open(Layout(tmp_path / "none"), "cpu")
    layout = write(checkpoint, tmp_path / "artifact")
    (layout.torch_encoder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ArtifactError, match=r"(?s)encoder/torch cannot be loaded .*make export"):
        TorchEngine.open(layout, "cpu")
    layout.torch_facts.write_text('{"vocabulary": 3}', encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"engine\.json is corrupt"):
        TorchEngine.open(layout, "cpu")
