"""Opening an artefact to be evaluated: only one that has not seen what it will be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tesserank.artifact.layout import ENCODER_PART, INDEX_PART, TOKENIZER_PART
from tesserank.artifact.manifest import Manifest, load_manifest
from tesserank.errors import ArtifactError
from tesserank_export.catalog import Catalog

if TYPE_CHECKING:
    from tesserank_export.checkpoint import Checkpoint

NOTHING = "nothing"  # an artefact of texts alone has not seen anything


@dataclass(frozen=True)
class Model:
    """A checkpoint as provenance has it. ``digest`` names its content; its ``name`` is for people."""

    name: str
    digest: str

    @classmethod
    def of(cls, manifest: Manifest) -> Model:
        """The one that an artefact was exported from."""
        said = manifest.provenance["model"]
        return cls(said["name"], said["digest"])

    @classmethod
    def in_checkpoint(cls, checkpoint: Checkpoint) -> Model:
        """The one that lies in it."""
        return cls(checkpoint.name, checkpoint.digest)

    def __str__(self) -> str:
        return f"{self.name} {self.digest[:12]}"


@dataclass(frozen=True)
class HeldOutArtifact:
    """A sound artefact, and the protocol under which its log was held out (or NOTHING)."""

    root: Path
    manifest: Manifest
    fitted_on: str

    @property
    def model(self) -> Model:
        return Model.of(self.manifest)


def open_held_out(root: Path, catalog: Catalog, digests: Mapping[str, str], remedy: str) -> HeldOutArtifact:
    """Check an artefact's files and what it was fitted on. ``digests``: of the logs it may be, by their protocols.

    Raises ArtifactError, naming the ``remedy`` command, if the artefact is of another catalogue, saw the held-out
    items, or was fitted on another log than those.
    """
    manifest = load_manifest(root, (TOKENIZER_PART, ENCODER_PART, INDEX_PART))
    source = manifest.provenance["catalog"]["sha256"]
    if source != catalog.sha256:
        raise ArtifactError(
            f"artefact {manifest.artifact_id} was exported from catalogue {source[:12]}, not from this one "
            f"({catalog.sha256[:12]}): {remedy}"
        )
    return HeldOutArtifact(root, manifest, _fitted_on(manifest, digests, remedy))


def _fitted_on(manifest: Manifest, digests: Mapping[str, str], remedy: str) -> str:
    events = manifest.provenance["events"]
    if events is None:
        return NOTHING
    if "held_out" not in events:
        raise ArtifactError(
            f"artefact {manifest.artifact_id} was fitted on the whole log of {events['events']:,} events, users' last "
            f"items among them, so its figures would be of memory: {remedy}"
        )
    for protocol, digest in digests.items():
        if events["held_out"]["train_sha256"] == digest:
            return protocol
    held, allowed = events["held_out"], ", ".join(f"{name} {digest[:12]}" for name, digest in digests.items())
    raise ArtifactError(
        f"artefact {manifest.artifact_id} held out the last items of another log or by another protocol "
        f"({held['protocol']} {held['train_sha256'][:12]}) than is evaluated here ({allowed}): {remedy}"
    )
