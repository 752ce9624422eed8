"""An evaluation as experiment trackers see it: a recommender a step, and each protocol's table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tesserank.artifact.manifest import Manifest
from tesserank.tracking import Run, Value
from tesserank_evaluation.metrics import GAINS, KS
from tesserank_export.fit.tracking import HEADER, artifact_params, fit_rows

Result = Mapping[str, Any]


def track_evaluation(run: Run, result: Result, manifests: Mapping[str, Manifest], asked: Mapping[str, Value]) -> None:
    """Log a result, and the artefact of each protocol with its fit, if it had one. ``asked``: the options."""
    params: dict[str, Value] = {f"dataset.{key}": value for key, value in result["dataset"].items()} | dict(asked)
    for protocol, manifest in manifests.items():
        params |= {f"{protocol}.{key}": value for key, value in artifact_params(manifest).items()}
    run.params(params)
    for step, (protocol, name, entry) in enumerate(_ranked(result)):
        run.metrics({f"{protocol}/{name}/{key}": value for key, value in _figures(entry).items()}, step)
    for protocol, found in result["protocols"].items():
        header, rows = _table(found["recommenders"])
        run.table(f"{protocol}/metrics", header, rows)
    # After the metrics: to Weights & Biases a table is a step, and steps before the last one are dropped.
    for protocol, manifest in manifests.items():
        if fit := manifest.provenance.get("fit"):
            run.table(f"{protocol}/fit", HEADER, fit_rows(fit))


def _ranked(result: Result) -> Iterator[tuple[str, str, Result]]:
    for protocol, found in result["protocols"].items():
        for name, entry in found["recommenders"].items():
            yield protocol, name, entry


def _figures(entry: Result) -> dict[str, float]:
    figures = {key: float(value["mean"]) for key, value in entry["metrics"].items()}
    figures |= entry["coverage"]
    return figures | {f"seconds/{key}": float(value) for key, value in entry["seconds"].items()}


def _table(recommenders: Result) -> tuple[list[str], list[list[Value]]]:
    """Means and standard errors of every metric, best NDCG@10 first."""
    keys = [f"{gain}@{k}" for gain in GAINS for k in KS]
    header = ["recommender", *(name for key in keys for name in (key, f"{key} SE"))]
    best_first = sorted(recommenders, key=lambda name: -float(recommenders[name]["metrics"]["ndcg@10"]["mean"]))
    figures = {name: recommenders[name]["metrics"] for name in best_first}
    return header, [
        [name, *(own[key][part] for key in keys for part in ("mean", "se"))] for name, own in figures.items()
    ]
