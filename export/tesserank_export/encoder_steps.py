"""The export's first half: checkpoint → tokenizer, ONNX graphs, and the proof that they agree with the checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.artifact.bundle import save_template
from tesserank.artifact.layout import PRECISIONS, Layout
from tesserank.encoding.batch import Encode, EncoderRows, encode_composed
from tesserank.encoding.engine import OnnxEngine
from tesserank.encoding.providers import Profile, ProviderSettings, profiles
from tesserank.encoding.pytorch.engine import TorchEngine
from tesserank.encoding.pytorch.files import Facts
from tesserank.encoding.template import Composed, Template
from tesserank.files import read_json, sha256_file, write_json
from tesserank_export import graph, parity, plan_graph
from tesserank_export.checkpoint import Checkpoint
from tesserank_export.heads import Projection, random_pair_head
from tesserank_export.options import PLAIN, TENSORRT, ExportOptions
from tesserank_export.projection import fit_projection
from tesserank_export.steps import Steps, digest_of
from tesserank_export.tensorrt_plan import PlanEngine, build_plan, check_precision, find_tensorrt
from tesserank_export.torch_encoder import torch_encode
from tesserank_export.torch_engine import write_torch_engine

_PROJECTION_ITEMS = 2048  # items whose tokens the projection is fitted on
_PARITY_TEXTS = 128
_CALIBRATION_TEXTS = 128  # that show how large activations get
_PLAN_GRAPH = "plan.onnx"
TORCH_PARITIES = {"torch": "float32", "torch_bf16": "bfloat16"}  # in the report -> what the engine computes in
_ROWS = EncoderRows(32)  # inputs in a call of the encoder

TokenIds = Sequence[Sequence[int]]


class EncoderSteps:
    """Steps that make the parts tokenizer, encoder and cross_encoder; each method returns what its step made."""

    def __init__(self, options: ExportOptions, steps: Steps, checkpoint: Checkpoint) -> None:
        self._options = options
        self._steps = steps
        self._checkpoint = checkpoint
        self.template: Template = checkpoint.template()

    def tokenizer(self) -> Path:
        """A step's directory that holds the tokenizer part."""

        def build(scratch: Path) -> None:
            layout = Layout(scratch)
            layout.tokenizer.parent.mkdir()
            self._checkpoint.save_tokenizer(layout.tokenizer)
            save_template(self.template, layout.template)

        return self._steps.run("tokenizer", "tokenizer", [self._checkpoint.digest], build) / "tokenizer"

    def backbone(self) -> Path:
        def build(scratch: Path) -> None:
            fusion = graph.export_backbone(self._checkpoint, scratch / "backbone.onnx")
            write_json(scratch / "fusion.json", asdict(fusion))

        step = self._steps.run("backbone", "backbone → ONNX, fused", [self._checkpoint.digest], build)
        if refused := read_json(step / "fusion.json")["refused"]:
            self._steps.say(f"  served as traced, without fused operators, and slower for it: {refused}")
        return step

    def projection(self, backbone: Path, items: TokenIds) -> Projection:
        own = self._checkpoint.projection()
        if own is not None:
            self._steps.say(f"projection: {own.source}")
            return own
        rng = np.random.default_rng(self._options.seed)
        filled = [item for item in items if item]
        sample = [filled[i] for i in sorted(rng.permutation(len(filled))[:_PROJECTION_ITEMS])]

        def build(scratch: Path) -> None:
            engine = OnnxEngine(backbone / "backbone.onnx", self._options.threads)
            inputs = [self.template.compose([item]) for item in sample]
            hidden = encode_composed(inputs, self.template, engine, _ROWS)
            fitted = fit_projection(hidden, self._options.dim, self._options.seed)
            np.savez(scratch / "projection.npz", weight=fitted.weight, bias=fitted.bias)
            (scratch / "source.txt").write_text(fitted.source, encoding="utf-8")

        inputs = [backbone.name, self._options.dim, self._options.seed, digest_of(sample)]
        step = self._steps.run("projection", f"projection to {self._options.dim} dimensions", inputs, build)
        with np.load(step / "projection.npz") as saved:
            return Projection(saved["weight"], saved["bias"], (step / "source.txt").read_text(encoding="utf-8"))

    def encoder(self, backbone: Path, projection: Projection, tokenizer: Path) -> Path:
        """A directory that is the encoder part, and says which encoder it is."""

        def build(scratch: Path) -> None:
            layout = Layout(scratch)
            layout.encoder_meta.parent.mkdir()
            graph.write_encoder(backbone / "backbone.onnx", projection, layout.encoder("fp32"))
            graph.quantise(layout.encoder("fp32"), layout.encoder("int8"))
            parts = [sha256_file(layout.encoder(precision)) for precision in PRECISIONS]
            tokens = [sha256_file(path) for path in sorted(tokenizer.iterdir())]
            identity = digest_of([parts, tokens, self._options.precision])
            meta = {"encoder_id": identity, "dim": projection.weight.shape[1], "max_tokens": self.template.max_tokens}
            write_json(layout.encoder_meta, meta)

        inputs = [_content(projection, backbone), tokenizer.parent.name, self._options.precision]
        return self._steps.run("encoder", "encoder: fp32 and int8", inputs, build) / "encoder"

    def plain(self, projection: Projection, backbone: Path) -> Path:
        """A directory of the encoder part with the graph in standard operators, which TensorRT reads."""

        def build(scratch: Path) -> None:
            layout = Layout(scratch)
            layout.plain_encoder.parent.mkdir()
            raw = scratch / "backbone.onnx"
            graph.trace_backbone(self._checkpoint, raw)
            graph.write_encoder(raw, projection, layout.plain_encoder)
            raw.unlink()

        return self._steps.run("plain", "encoder: plain", _content(projection, backbone), build) / "encoder"

    def plan(self, projection: Projection, backbone: Path, items: TokenIds) -> Path:
        """A directory of the encoder part with the plan of this machine's GPU. Raises ConfigError without one."""
        trt, target = find_tensorrt()
        check_precision(self._options.plan_precision, target)
        source = self._plan_graph(projection, backbone, items)
        timings = self._options.work / f"timings-{target.file}"

        def build(scratch: Path) -> None:
            layout = Layout(scratch)
            layout.plans.mkdir(parents=True)
            (layout.plans / target.file).write_bytes(build_plan(trt, source, self._profiles(), timings))

        inputs = [_content(projection, backbone), asdict(target), source.parent.name]
        title = f"encoder: TensorRT {target.version} for {target.gpu}"
        return self._steps.run("tensorrt", title, inputs, build) / "encoder"

    def _plan_graph(self, projection: Projection, backbone: Path, items: TokenIds) -> Path:
        """The graph of a plan, in the precision that is asked for."""
        precision = self._options.plan_precision
        inputs: list[Any] = [_content(projection, backbone), precision]
        if precision == "bf16":
            write = partial(plan_graph.write_bfloat16, self._checkpoint, projection)
            return self._written_graph(inputs, write)
        plain = Layout(self.plain(projection, backbone).parent).plain_encoder
        if precision == "fp16":
            return self._written_graph(inputs, partial(plan_graph.to_float16, plain))
        if precision == "fp8":
            # Others than those of the parity report, which would flatter, where there are so many.
            chosen = self._sampled(items, _PARITY_TEXTS, _PARITY_TEXTS + _CALIBRATION_TEXTS)
            texts = [text.input_ids for text in chosen]
            inputs.append([ids.tolist() for ids in texts])
            return self._written_graph(inputs, partial(plan_graph.to_fp8, plain, texts=texts))
        return plain

    def _written_graph(self, inputs: Sequence[Any], write: Callable[..., None]) -> Path:
        """What ``write`` writes to a ``path``, in a step of these inputs."""

        def build(scratch: Path) -> None:
            write(path=scratch / _PLAN_GRAPH)

        return self._steps.run("plan-graph", f"encoder: {self._options.plan_precision}", inputs, build) / _PLAN_GRAPH

    def _profiles(self) -> list[Profile]:
        """As many as ``configs/tensorrt.pbtxt`` names, also of an encoder whose longest input needs fewer."""
        served = ProviderSettings()
        own = profiles(served.profile_lengths, served.profile_rows, self.template.max_tokens)
        return own + own[-1:] * (len(served.profile_lengths) + 1 - len(own))

    def torch_engine(self, projection: Projection, backbone: Path) -> Path:
        """A directory of the encoder part with what the engine torch needs."""

        def build(scratch: Path) -> None:
            write_torch_engine(self._checkpoint, projection, self._pair_head(), self.template, Layout(scratch))

        inputs = [_content(projection, backbone), self._options.seed]
        step = self._steps.run("torch", "encoder: torch", inputs, build)
        refused = Facts.read(Layout(step)).refused
        self._steps.say(f"  rows are padded, not packed: {refused}" if refused else "  rows are packed")
        return step / "encoder"

    def parity(
        self, projection: Projection, encoder: Path, items: TokenIds, engines: Mapping[str, Path] | None = None
    ) -> dict[str, Any]:
        """Compare the checkpoint with both graphs, and with the ``engines`` that there are beside, on texts of the
        catalogue. Raises a named ParityError.
        """
        sample = self._sampled(items, 0, _PARITY_TEXTS)
        layout = Layout(encoder.parent)
        served: dict[str, Callable[[], Encode]] = {
            precision: partial(OnnxEngine.for_precision, layout.encoder(precision), precision, self._options.threads)
            for precision in PRECISIONS
        }
        for engine, part in (engines or {}).items():
            served |= self._beside(engine, Layout(part.parent), projection.weight.shape[1])

        def build(scratch: Path) -> None:
            original = torch_encode(self._checkpoint, projection, sample)
            compared = {}
            for name, open_engine in served.items():
                exported = encode_composed(sample, self.template, open_engine(), _ROWS)
                compared[name] = parity.compare(original, exported).as_dict()
            write_json(scratch / "parity.json", compared)

        parts = [encoder.parent.name, *(part.parent.name for part in (engines or {}).values())]
        inputs = [parts, [composed.input_ids.tolist() for composed in sample]]
        step = self._steps.run("parity", f"parity with the checkpoint: {', '.join(served)}", inputs, build)
        report: dict[str, Any] = read_json(step / "parity.json")
        for name in served:
            found = parity.Parity(**report[name])
            self._steps.say(
                f"  {name}: max error {found.max_error:.1e}, mean {found.mean_error:.1e}, "
                f"cosine {found.mean_cosine:.5f}, top-10 agreement {found.top10_agreement:.3f}"
            )
            parity.check(name, found, self._options.tolerances[name])
        return report

    def _sampled(self, items: TokenIds, first: int, last: int) -> list[Composed]:
        """Texts of the catalogue in a random order, from the ``first`` to the one before the ``last``; if there are not
        that many, the last of them.
        """
        distinct = sorted({tuple(item) for item in items if item})
        shuffled = np.random.default_rng(self._options.seed).permutation(len(distinct))
        picks = shuffled[first:last] if len(distinct) >= last else shuffled[first - last :]
        return [self.template.compose([distinct[i]]) for i in sorted(picks)]

    def _beside(self, engine: str, layout: Layout, dim: int) -> dict[str, Callable[[], Encode]]:
        """What an engine is compared as: names in the report, and how to open each."""
        if engine == PLAIN:
            return {PLAIN: partial(OnnxEngine, layout.plain_encoder, self._options.threads)}
        if engine == TENSORRT:
            return {TENSORRT: partial(self._open_plan, layout, dim)}
        return {name: partial(TorchEngine.open, layout, "cpu", dtype) for name, dtype in TORCH_PARITIES.items()}

    def _open_plan(self, layout: Layout, dim: int) -> PlanEngine:
        trt, target = find_tensorrt()
        plan = (layout.plans / target.file).read_bytes()
        return PlanEngine(trt, plan, self._profiles(), dim)

    def _pair_head(self) -> NDArray[np.float32]:
        return random_pair_head(self._checkpoint.hidden_size, self._options.seed)

    def cross_encoder(self, backbone: Path) -> Path:
        def build(scratch: Path) -> None:
            layout = Layout(scratch)
            layout.cross_encoder("fp32").parent.mkdir()
            graph.write_cross_encoder(backbone / "backbone.onnx", self._pair_head(), layout.cross_encoder("fp32"))
            graph.quantise(layout.cross_encoder("fp32"), layout.cross_encoder("int8"))

        inputs = [backbone.name, self._options.seed]
        return self._steps.run("cross_encoder", "cross-encoder (the baseline)", inputs, build) / "cross_encoder"


def _content(projection: Projection, backbone: Path) -> list[str]:
    """What an encoder is made of."""
    return [digest_of([array.tolist() for array in (projection.weight, projection.bias)]), backbone.name]
