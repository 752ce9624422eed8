"""The export's first half: checkpoint → tokenizer, ONNX graphs, and the proof that they agree with the checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tesserank.artifact.bundle import save_template
from tesserank.artifact.layout import PRECISIONS, Layout
from tesserank.encoding.batch import EncoderRows, encode_composed
from tesserank.encoding.engine import OnnxEngine
from tesserank.encoding.template import Template
from tesserank.files import read_json, sha256_file, write_json
from tesserank_export import graph, parity
from tesserank_export.checkpoint import Checkpoint
from tesserank_export.heads import Projection
from tesserank_export.options import ExportOptions
from tesserank_export.projection import fit_projection
from tesserank_export.steps import Steps, digest_of
from tesserank_export.torch_encoder import torch_encode

_PROJECTION_ITEMS = 2048  # items whose tokens the projection is fitted on
_PARITY_TEXTS = 128
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
            write_json(layout.encoder_meta, {"encoder_id": identity, "dim": projection.weight.shape[1]})

        content = [digest_of([array.tolist() for array in (projection.weight, projection.bias)]), backbone.name]
        inputs = [content, tokenizer.parent.name, self._options.precision]
        return self._steps.run("encoder", "encoder: fp32 and int8", inputs, build) / "encoder"

    def parity(self, projection: Projection, encoder: Path, items: TokenIds) -> dict[str, Any]:
        """Compare torch with both graphs on texts of the catalogue; raises a named ParityError."""
        distinct = sorted({tuple(item) for item in items if item})
        picks = np.random.default_rng(self._options.seed).permutation(len(distinct))[:_PARITY_TEXTS]
        sample = [self.template.compose([distinct[i]]) for i in sorted(picks)]
        layout = Layout(encoder.parent)

        def build(scratch: Path) -> None:
            original = torch_encode(self._checkpoint, projection, sample)
            compared = {}
            for precision in PRECISIONS:
                engine = OnnxEngine.for_precision(layout.encoder(precision), precision, self._options.threads)
                exported = encode_composed(sample, self.template, engine, _ROWS)
                compared[precision] = parity.compare(original, exported).as_dict()
            write_json(scratch / "parity.json", compared)

        inputs = [encoder.parent.name, [composed.input_ids.tolist() for composed in sample]]
        step = self._steps.run("parity", "parity of torch, fp32 and int8", inputs, build)
        report: dict[str, Any] = read_json(step / "parity.json")
        for precision in PRECISIONS:
            found = parity.Parity(**report[precision])
            self._steps.say(
                f"  {precision}: max error {found.max_error:.1e}, mean {found.mean_error:.1e}, "
                f"cosine {found.mean_cosine:.5f}, top-10 agreement {found.top10_agreement:.3f}"
            )
            parity.check(precision, found, self._options.tolerances[precision])
        return report

    def cross_encoder(self, backbone: Path) -> Path:
        def build(scratch: Path) -> None:
            layout = Layout(scratch)
            layout.cross_encoder("fp32").parent.mkdir()
            hidden = self._checkpoint.hidden_size
            graph.write_cross_encoder(
                backbone / "backbone.onnx", hidden, self._options.seed, layout.cross_encoder("fp32")
            )
            graph.quantise(layout.cross_encoder("fp32"), layout.cross_encoder("int8"))

        inputs = [backbone.name, self._options.seed]
        return self._steps.run("cross_encoder", "cross-encoder (the baseline)", inputs, build) / "cross_encoder"
