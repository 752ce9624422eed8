"""The index on disk: one .npy a matrix, memory-mapped, so that the models of a server share one copy in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.errors import ArtifactError
from tesserank.files import read_json, write_json
from tesserank.index.item_index import ItemIndex, Space
from tesserank.maxsim.ragged import Ragged

META = "index.json"  # in an index's directory


def save_index(index: ItemIndex, directory: Path) -> None:
    """Write an index into a directory that exists. Callers make it atomic by writing into a scratch directory."""
    (directory / "item_ids.json").write_text(json.dumps(index.item_ids, ensure_ascii=False), encoding="utf-8")
    _save_ragged(directory / "tokens", index.tokens)
    np.save(directory / "idf.npy", index.idf)
    for space in index.spaces.values():
        _save_ragged(directory / space.name, space.items)
        np.save(directory / space.name / "weights.npy", space.weights)
    meta = {
        "index_id": index.index_id,
        "encoder_id": index.encoder_id,
        "items": len(index),
        "spaces": {space.name: {"dim": space.dim, "scale": space.scale} for space in index.spaces.values()},
    }
    write_json(directory / META, meta)


def load_index(directory: Path) -> ItemIndex:
    """Read an index, its vectors memory-mapped. Raises ArtifactError if it is missing, corrupt or inconsistent."""
    try:
        return _load_index(directory, read_json(directory / META))
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{directory / META} is corrupt ({error!r}): rebuild it with make export") from error


def _load_index(directory: Path, meta: Any) -> ItemIndex:
    item_ids = tuple(read_json(directory / "item_ids.json"))
    if len(item_ids) != meta["items"]:
        raise ArtifactError(
            f"{len(item_ids):,} item ids but {meta['items']:,} items in index {meta['index_id']}: "
            "rebuild it with make export"
        )
    spaces = {}
    for name, space in meta["spaces"].items():
        weights = _load(directory / name / "weights.npy")
        spaces[name] = Space(name, _load_ragged(directory / name), weights, space["scale"])
    return ItemIndex(
        index_id=meta["index_id"],
        encoder_id=meta["encoder_id"],
        item_ids=item_ids,
        spaces=spaces,
        tokens=_load_ragged(directory / "tokens"),
        idf=_load(directory / "idf.npy"),
    )


def _save_ragged(directory: Path, ragged: Ragged) -> None:
    directory.mkdir()
    np.save(directory / "vectors.npy", ragged.vectors)
    np.save(directory / "offsets.npy", ragged.offsets)


def _load_ragged(directory: Path) -> Ragged:
    try:
        return Ragged(_load(directory / "vectors.npy"), _load(directory / "offsets.npy"))
    except ValueError as error:
        raise ArtifactError(f"{directory} is corrupt ({error}): rebuild it with make export") from error


def _load(path: Path) -> NDArray[Any]:
    try:
        # asarray: a plain array over the mapping; np.memmap itself slows every small operation down
        array: NDArray[Any] = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, EOFError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}): rebuild it with make export") from error
    return array
