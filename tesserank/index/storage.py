"""The index on disk: one .npy a matrix, memory-mapped, so that the models of a server share one copy in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.errors import ArtifactError
from tesserank.files import read_json, write_json
from tesserank.index.categories import Categories
from tesserank.index.item_index import ItemIndex, Space
from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.vectors import KINDS, from_arrays

META = "index.json"  # in an index's directory
FORMAT = 2  # 1 had float16 vectors only, and no word of its format


def save_index(index: ItemIndex, directory: Path) -> None:
    """Write an index into a directory that exists. Callers make it atomic by writing into a scratch directory."""
    (directory / "item_ids.json").write_text(json.dumps(index.item_ids, ensure_ascii=False), encoding="utf-8")
    _save(directory / "tokens", {"vectors": index.tokens.vectors}, index.tokens.offsets)
    np.save(directory / "idf.npy", index.idf)
    for space in index.spaces.values():
        stored = {**space.items.arrays(), "weights": space.weights.astype(np.float16)}
        _save(directory / space.name, stored, space.items.offsets)
    if index.categories is not None:
        np.save(directory / "categories.npy", index.categories.codes)
    meta = {
        "format": FORMAT,
        "index_id": index.index_id,
        "encoder_id": index.encoder_id,
        "items": len(index),
        "spaces": {
            space.name: {
                "vectors": space.items.kind,
                "arrays": sorted(space.items.arrays()),
                "dim": space.dim,
                "scale": space.scale,
            }
            for space in index.spaces.values()
        },
        "categories": None if index.categories is None else list(index.categories.names),
    }
    write_json(directory / META, meta)


def load_index(directory: Path) -> ItemIndex:
    """Read an index, its vectors memory-mapped. Raises ArtifactError if it is missing, corrupt or inconsistent."""
    meta = read_json(directory / META)
    try:
        found = meta.get("format", 1)
        if found != FORMAT:
            raise ArtifactError(
                f"{directory} is an index of format {found}, this version reads {FORMAT}: rebuild it with make export"
            )
        return _load_index(directory, meta)
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{directory / META} is corrupt ({error!r}): rebuild it with make export") from error


def _load_index(directory: Path, meta: Any) -> ItemIndex:
    item_ids = tuple(read_json(directory / "item_ids.json"))
    if len(item_ids) != meta["items"]:
        raise ArtifactError(
            f"{len(item_ids):,} item ids but {meta['items']:,} items in index {meta['index_id']}: "
            "rebuild it with make export"
        )
    try:
        tokens = Ragged(_load(directory / "tokens" / "vectors.npy"), _load_offsets(directory / "tokens"))
    except ValueError as error:
        raise _corrupt(directory / "tokens", error) from error
    categories = None
    if meta["categories"] is not None:
        categories = Categories(tuple(meta["categories"]), _load(directory / "categories.npy"))
    return ItemIndex(
        index_id=meta["index_id"],
        encoder_id=meta["encoder_id"],
        item_ids=item_ids,
        spaces={name: _load_space(directory / name, space) for name, space in meta["spaces"].items()},
        tokens=tokens,
        idf=_load(directory / "idf.npy"),
        categories=categories,
    )


def _load_space(directory: Path, meta: Any) -> Space:
    kind = meta["vectors"]
    if kind not in KINDS:
        raise ArtifactError(
            f"{directory} holds vectors of kind {kind!r}, this version reads {', '.join(KINDS)}: "
            "rebuild it with make export"
        )
    arrays = {name: _load(directory / f"{name}.npy") for name in meta["arrays"]}
    try:
        items = from_arrays(kind, arrays, _load_offsets(directory))
    except (ValueError, TypeError) as error:
        raise _corrupt(directory, error) from error
    return Space(directory.name, items, _load(directory / "weights.npy").astype(np.float32), meta["scale"])


def _corrupt(directory: Path, error: Exception) -> ArtifactError:
    return ArtifactError(f"{directory} is corrupt ({error}): rebuild it with make export")


def _save(directory: Path, arrays: Mapping[str, NDArray[Any]], offsets: NDArray[np.int64]) -> None:
    """Arrays as they are; offsets in four bytes while they fit."""
    directory.mkdir()
    for name, array in arrays.items():
        np.save(directory / f"{name}.npy", array)
    narrow = np.uint32 if offsets[-1] <= np.iinfo(np.uint32).max else np.int64
    np.save(directory / "offsets.npy", offsets.astype(narrow))


def _load_offsets(directory: Path) -> NDArray[np.int64]:
    return _load(directory / "offsets.npy").astype(np.int64)


def _load(path: Path) -> NDArray[Any]:
    try:
        # asarray: a plain array over the mapping; np.memmap itself slows every small operation down
        array: NDArray[Any] = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, EOFError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}): rebuild it with make export") from error
    return array
