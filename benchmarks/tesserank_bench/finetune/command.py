"""Fine-tune the cross-encoder for tesserank evaluate --with cross-encoder.

It learns from what a protocol keeps of a log: users' last items there, against others that late interaction ranks
among its best for them, learned from what was before. It goes on where an earlier run of the same options was cut off,
or ended with fewer --minutes; then it is exported to ONNX, where evaluate looks for it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from tesserank.arguments import check_least
from tesserank.artifact.bundle import save_template
from tesserank.artifact.layout import Layout
from tesserank.encoding.template import Template
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.errors import ConfigError, DataError
from tesserank.files import new_directory, write_json
from tesserank_bench.earlier_log import EarlierLog
from tesserank_bench.finetune.examples import Examples
from tesserank_bench.finetune.network import CrossEncoder
from tesserank_bench.finetune.training import Clock, FineTuner, Pairs, Recipe
from tesserank_evaluation.artifact import HeldOutArtifact, Model
from tesserank_evaluation.asked import TRAINED
from tesserank_evaluation.conditions import Machine
from tesserank_evaluation.exporting import add_artifact_arguments, held_out_artifact
from tesserank_evaluation.late_interaction import opened
from tesserank_evaluation.reranking.finetuned import PRECISION, FineTuned, Origin
from tesserank_evaluation.split import Cases, make_cases
from tesserank_export import graph
from tesserank_export.catalog import Catalog
from tesserank_export.checkpoint import Checkpoint, resolve_checkpoint
from tesserank_export.cli import add_data_arguments, read_log
from tesserank_export.events import Events
from tesserank_export.heldout import PLAIN, PROTOCOLS
from tesserank_export.steps import digest_of

_REPORTED_STEPS = 50  # whose mean loss is told, of the first and of the last


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add_data_arguments(parser)
    parser.add_argument("--protocol", choices=PROTOCOLS, default=PLAIN, help="see docs/evaluation.md (%(default)s)")
    parser.add_argument("--minutes", type=float, default=60.0, help="of training, all runs together (%(default)g)")
    recipe = Recipe()
    parser.add_argument("--pair-tokens", type=int, default=recipe.pair_tokens, help="of the longest (%(default)s)")
    parser.add_argument("--negatives", type=int, default=recipe.negatives, help="of an example (%(default)s)")
    parser.add_argument("--bf16", action="store_true", help="train in bfloat16, for AVX-512 BF16 or AMX")
    parser.add_argument("--trained", type=Path, default=TRAINED, metavar="DIR", help="(%(default)s)")
    add_artifact_arguments(parser)
    parser.add_argument("--threads", type=int, default=2, help="(%(default)s)")
    parser.add_argument("--memory-mib", type=int, default=1024, help="for MaxSim that comes again (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn at random (%(default)s)")


def run(args: argparse.Namespace, clock: Clock = time.perf_counter) -> int:
    """Train, export; 0."""
    _check(args)
    torch.set_num_threads(args.threads)
    console = Console(file=sys.stderr, soft_wrap=True, highlight=False)
    catalog, events = read_log(args)
    cases = make_cases(events, 1, args.seed, args.protocol)
    artifact = held_out_artifact(args, cases, catalog, events)
    FineTuning(args, catalog, cases, artifact, console, clock).run()
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.events is None:
        raise ConfigError("--events is needed: what came next in a log is what is learned")
    check_least(args, {"pair_tokens": 8, "negatives": 1, "threads": 1, "memory_mib": 0, "seed": 0})
    if not args.minutes > 0:
        raise ConfigError(f"--minutes must be above 0, not {args.minutes:g}")


class FineTuning:
    """One log's, under one protocol, beside one artefact."""

    def __init__(
        self,
        args: argparse.Namespace,
        catalog: Catalog,
        cases: Cases,
        artifact: HeldOutArtifact,
        console: Console,
        clock: Clock,
    ) -> None:
        self._args, self._catalog, self._cases, self._artifact = args, catalog, cases, artifact
        self._console, self._clock = console, clock
        self._machine = Machine(args.seed, {"finetune": args.threads})
        self._recipe = replace(Recipe(), pair_tokens=args.pair_tokens, negatives=args.negatives, bf16=args.bf16)
        self._checkpoint = _own_checkpoint(args.model, artifact)
        self._tuned = FineTuned.on(args.trained, cases)

    def run(self) -> None:
        network = CrossEncoder(self._checkpoint, self._args.seed)
        template = self._template()
        log, cases, earlier = self._earlier()
        with opened(earlier.root, self._args.threads, self._args.memory_mib << 20) as retriever:
            recipe, texts, seed = self._recipe, self._catalog.texts, self._args.seed
            examples = Examples(log, cases, texts, retriever, recipe.users, recipe.negatives, recipe.depth, seed)
            tokenizer = TextTokenizer(Layout(self._artifact.root).tokenizer)
            pairs = Pairs(texts, tokenizer, template)
            tuner = FineTuner(network, examples, pairs, recipe, seed, self._state_file(earlier), self._clock)
            self._train(tuner)
        self._publish(network, template, tuner, earlier)

    def _earlier(self) -> tuple[Events, Cases, HeldOutArtifact]:
        """What the protocol keeps, users' last items of that, and the artefact's configuration learned without them."""
        args, protocol = self._args, self._cases.protocol
        path, segments = (self._beside(f"earlier.{ending}") for ending in ("csv.gz", "toml"))
        log = EarlierLog.write(self._cases.held.train, self._catalog, path)
        shutil.copyfile(Layout(self._artifact.root).segments, segments)
        try:
            cases = make_cases(log.events, None, args.seed, protocol)
        except DataError as error:
            raise DataError(
                f"users need an item more to learn from than to be evaluated; without the last: {error}"
            ) from error
        manifest = self._artifact.manifest
        alike = {name: manifest.provenance["settings"][name] for name in ("dim", "collaborative_dim")}
        own = {"segments": segments, "artifact": None, "fit": False, "name": f"{args.name}-earlier"}
        export = argparse.Namespace(**{**vars(args), **log.arguments, **alike, "precision": manifest.precision, **own})
        return log.events, cases, held_out_artifact(export, cases, self._catalog, log.events)

    def _template(self) -> Template:
        template = self._checkpoint.template()
        return replace(template, max_tokens=min(template.max_tokens, self._recipe.pair_tokens))

    def _state_file(self, earlier: HeldOutArtifact) -> Path:
        """By everything that decides a step."""
        parts = [self._checkpoint.digest, earlier.manifest.artifact_id, asdict(self._recipe), self._args.seed]
        log = [self._cases.held.digest, self._catalog.sha256]
        return self._beside(f"{digest_of([*log, *parts])}.pt")

    def _beside(self, ending: str) -> Path:
        return self._tuned.root.with_name(f"{self._tuned.root.name}-{ending}")

    def _train(self, tuner: FineTuner) -> None:
        if tuner.losses:
            self._console.print(f"  goes on after {len(tuner.losses):,} steps, {tuner.seconds:.0f} s")
        budget = self._args.minutes * 60
        with Progress(console=self._console, transient=True) as bar:
            task = bar.add_task("fine-tuning", total=budget)

            def advance() -> None:
                recent = np.mean(tuner.losses[-_REPORTED_STEPS:])
                title = f"fine-tuning, step {len(tuner.losses):,}, loss {recent:.3f}"
                bar.update(task, completed=tuner.seconds, description=title)

            tuner.run(budget, advance)

    def _publish(self, network: CrossEncoder, template: Template, tuner: FineTuner, earlier: HeldOutArtifact) -> None:
        network.eval()
        with new_directory(self._tuned.root) as scratch:
            checkpoint = _saved(self._checkpoint, network, scratch / "checkpoint")
            layout = Layout(scratch)
            for path in (layout.tokenizer, layout.cross_encoder(PRECISION)):
                path.parent.mkdir()
            checkpoint.save_tokenizer(layout.tokenizer)
            save_template(template, layout.template)
            graph.export_backbone(checkpoint, scratch / "backbone.onnx")
            graph.write_cross_encoder(scratch / "backbone.onnx", network.head(), layout.cross_encoder(PRECISION))
            for path in scratch.glob("backbone.*"):
                path.unlink()
            shutil.rmtree(scratch / "checkpoint")
            write_json(FineTuned(scratch).meta_file, self._meta(tuner, earlier))
        self._console.print(f"  {len(tuner.losses):,} steps in {tuner.seconds:.0f} s; exported to {self._tuned.root}")

    def _meta(self, tuner: FineTuner, earlier: HeldOutArtifact) -> dict[str, Any]:
        ends = {"first": tuner.losses[:_REPORTED_STEPS], "last": tuner.losses[-_REPORTED_STEPS:]}
        origin = Origin(self._cases, self._catalog, self._artifact.model)
        return origin.described() | {
            "protocol": self._cases.protocol,
            "negatives_of": earlier.manifest.artifact_id,
            "recipe": asdict(self._recipe),
            "steps": len(tuner.losses),
            "seconds": round(tuner.seconds, 1),
            "examples": len(tuner.losses) * self._recipe.users,
            "loss": {name: round(float(np.mean(part)), 4) for name, part in ends.items()},
            "loss_of_chance": round(float(np.log(1 + self._recipe.negatives)), 4),
            "machine": self._machine.conditions(),
        }


def _own_checkpoint(model: str | None, artifact: HeldOutArtifact) -> Checkpoint:
    """The artefact's, whose tokenizer pairs are made with. Raises ConfigError if --model names another."""
    checkpoint = resolve_checkpoint(model)
    named = Model.in_checkpoint(checkpoint)
    if named.digest != artifact.model.digest:
        raise ConfigError(
            f"artefact {artifact.manifest.artifact_id} was exported from {artifact.model}, not from {named}: "
            "name its own checkpoint with --model, or leave --artifact out"
        )
    return checkpoint


def _saved(checkpoint: Checkpoint, network: CrossEncoder, folder: Path) -> Checkpoint:
    """The fine-tuned backbone as a checkpoint of its own, with the tokenizer of the old one."""
    shutil.copytree(checkpoint.directory, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.bin", "*.onnx"))
    network.save_backbone(folder)
    return replace(resolve_checkpoint(str(folder)), name=checkpoint.name)
