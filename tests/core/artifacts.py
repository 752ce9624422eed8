"""A whole artefact of small files, as an export would leave it; the graphs are not graphs."""

from __future__ import annotations

from pathlib import Path

from tesserank.artifact.bundle import save_template
from tesserank.artifact.layout import PRECISIONS, Layout
from tesserank.artifact.manifest import Manifest, list_files
from tesserank.files import write_json
from tesserank.index import save_index
from tests.core.world import ENCODER_ID, TEMPLATE, make_index

ARTIFACT_ID = "artifact-1"


def make_artifact(
    root: Path, manifest_encoder: str = ENCODER_ID, encoder: str = ENCODER_ID, graph: bytes = b"graph"
) -> Layout:
    """Write an artefact; parts may be given the id of an encoder that is not the manifest's."""
    layout = Layout(root)
    for folder in (layout.tokenizer, layout.encoder_meta, layout.cross_encoder("fp32"), layout.index / "index.json"):
        folder.parent.mkdir(parents=True)
    layout.segments.write_text('name = "small"\n', encoding="utf-8")
    write_json(layout.tokenizer, {"tokens": []})
    save_template(TEMPLATE, layout.template)
    write_json(layout.encoder_meta, {"encoder_id": encoder, "max_tokens": TEMPLATE.max_tokens})
    for precision in PRECISIONS:
        layout.encoder(precision).write_bytes(graph + precision.encode())
        layout.cross_encoder(precision).write_bytes(b"pairs" + precision.encode())
    save_index(make_index(), layout.index)
    seal(layout, manifest_encoder)
    return layout


def seal(layout: Layout, encoder_id: str = ENCODER_ID, precision: str = "fp32") -> None:
    """Write the manifest of what lies there."""
    manifest = Manifest(
        artifact_id=ARTIFACT_ID,
        name="small",
        encoder_id=encoder_id,
        index_id="index-1",
        precision=precision,
        files=list_files(layout.root),
        provenance={"made": "by a test"},
    )
    manifest.write(layout.manifest)
