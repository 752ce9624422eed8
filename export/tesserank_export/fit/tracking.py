"""A fit as experiment trackers see it: NDCG@10 of every step, and the table of the record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tesserank.artifact.manifest import Manifest
from tesserank.tracking import Run, Value

HEADER = ("step", "NDCG@10", "gain", "standard error", "taken")
Record = Mapping[str, Any]  # as ``steps.FitStep`` makes it


def track_fit(run: Run, manifest: Manifest, record: Record) -> None:
    """Log a fit and the artefact that came of it."""
    run.params(
        artifact_params(manifest) | {f"fit.{key}": record[key] for key in ("protocol", "cases", "users", "seed")}
    )
    for step, entry in enumerate(record["steps"]):
        run.metrics(
            {
                "fit/ndcg@10": entry["ndcg_at_10"],
                "fit/gain": entry["gain"],
                "fit/standard_error": entry["standard_error"],
                "fit/taken": float(entry["taken"]),
            },
            step,
        )
    run.table("fit/steps", HEADER, fit_rows(record))


def fit_rows(record: Record) -> list[list[Value]]:
    """The steps of a record, under HEADER."""
    return [
        [entry["step"], entry["ndcg_at_10"], entry["gain"], entry["standard_error"], entry["taken"]]
        for entry in record["steps"]
    ]


def artifact_params(manifest: Manifest) -> dict[str, Value]:
    """What identifies an artefact, and what it was exported from and with."""
    provenance = manifest.provenance
    events = provenance["events"] or {}
    return {
        "artifact": manifest.artifact_id,
        "segments": manifest.name,
        "model": provenance["model"]["name"],
        "model.digest": provenance["model"]["digest"],
        "catalog.sha256": provenance["catalog"]["sha256"],
        "catalog.items": provenance["catalog"]["items"],
        "events": events.get("events"),
        "held_out": events.get("held_out", {}).get("protocol"),
        **{f"export.{key}": value for key, value in provenance["settings"].items() if not isinstance(value, list)},
    }
