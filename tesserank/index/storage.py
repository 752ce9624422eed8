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
from tesserank.index.by_token import ids_of_vectors, table_of
from tesserank.index.categories import Categories
from tesserank.index.item_index import ItemIndex, Space
from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.vectors import CLASSES, ItemVectors, from_arrays

META = "index.json"  # in an index's directory
_WEIGHTS = "weights"
_QUERIES = "queries"  # a folder of a space whose items have other vectors when they are segments
_MOMENTS = "moments"  # in it, where they are not items' but moments'
_BY_TOKEN = ".by-token"  # after the name of an array that is stored once a token id
FORMAT = 3  # 2 called token_weights.npy idf.npy; 1 had float16 vectors only, and no word of its format


def save_index(index: ItemIndex, directory: Path) -> None:
    """Write an index into a directory that exists. Callers make it atomic by writing into a scratch directory."""
    (directory / "item_ids.json").write_text(json.dumps(index.item_ids, ensure_ascii=False), encoding="utf-8")
    _save(directory / "tokens", {"vectors": index.tokens.vectors}, index.tokens.offsets)
    np.save(directory / "token_weights.npy", index.token_weights)
    for space in index.spaces.values():
        stored = {**space.items.arrays(), _WEIGHTS: space.weights.astype(np.float16)}
        _save(directory / space.name, _by_token(stored, index, space), space.items.offsets)
        if space.queries is not None:
            _save(directory / space.name / _QUERIES, space.queries.arrays(), space.queries.offsets)
        if space.moments is not None:
            np.save(directory / space.name / _QUERIES / f"{_MOMENTS}.npy", space.moments)
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
                **_described_queries(space),
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
    token_weights = _load(directory / "token_weights.npy")
    categories = None
    if meta["categories"] is not None:
        categories = Categories(tuple(meta["categories"]), _load(directory / "categories.npy"))
    return ItemIndex(
        index_id=meta["index_id"],
        encoder_id=meta["encoder_id"],
        item_ids=item_ids,
        spaces={
            name: _load_space(directory / name, space, tokens, len(token_weights))
            for name, space in meta["spaces"].items()
        },
        tokens=tokens,
        token_weights=token_weights,
        categories=categories,
    )


def _by_token(arrays: Mapping[str, NDArray[Any]], index: ItemIndex, space: Space) -> dict[str, NDArray[Any]]:
    """The arrays of a space; those with a number a vector, as many as a token id of each suffices for, by token."""
    vocabulary, count = len(index.token_weights), int(space.items.offsets[-1])
    ids = ids_of_vectors(index.tokens, space.items.offsets, vocabulary)
    stored = dict(arrays)
    for name, array in arrays.items():
        if ids is not None and array.shape == (count,):
            table = table_of(array, ids, vocabulary)
            if table is not None:
                del stored[name]
                stored[name + _BY_TOKEN] = table
    return stored


def _load_space(directory: Path, meta: Any, tokens: Ragged, vocabulary: int) -> Space:
    kind = meta["vectors"]
    _check_kind(directory, kind)
    offsets = _load_offsets(directory)
    try:
        ids = ids_of_vectors(tokens, offsets, vocabulary)
        arrays = {name: _load_array(directory, name, ids) for name in (*meta["arrays"], _WEIGHTS)}
        weights = arrays.pop(_WEIGHTS).astype(np.float32)
        items = from_arrays(kind, arrays, offsets)
    except (ValueError, TypeError, IndexError) as error:
        raise _corrupt(directory, error) from error
    queries = _load_queries(directory / _QUERIES, meta[_QUERIES]) if _QUERIES in meta else None
    moments = _load(directory / _QUERIES / f"{_MOMENTS}.npy") if meta.get(_MOMENTS) else None
    return Space(directory.name, items, weights, meta["scale"], queries, moments)


def _described_queries(space: Space) -> dict[str, Any]:
    if space.queries is None:
        return {}
    described: dict[str, Any] = {_QUERIES: {"vectors": space.queries.kind, "arrays": sorted(space.queries.arrays())}}
    return described if space.moments is None else {**described, _MOMENTS: len(space.moments)}


def _load_queries(directory: Path, meta: Any) -> ItemVectors:
    _check_kind(directory, meta["vectors"])
    try:
        arrays = {name: _load(directory / f"{name}.npy") for name in meta["arrays"]}
        return from_arrays(meta["vectors"], arrays, _load_offsets(directory))
    except (ValueError, TypeError, IndexError) as error:
        raise _corrupt(directory, error) from error


def _check_kind(directory: Path, kind: str) -> None:
    if kind not in CLASSES:
        raise ArtifactError(
            f"{directory} holds vectors of kind {kind!r}, this version reads {', '.join(CLASSES)}: "
            "rebuild it with make export"
        )


def _load_array(directory: Path, name: str, ids: NDArray[np.int64] | None) -> NDArray[Any]:
    """An array of a space, ``ids`` being the token ids of its vectors."""
    by_token = directory / f"{name}{_BY_TOKEN}.npy"
    if not by_token.exists():
        return _load(directory / f"{name}.npy")
    if ids is None:
        raise ValueError(f"{by_token.name}, but its vectors are not those of the items' tokens")
    values: NDArray[Any] = _load(by_token)[ids]
    return values


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
