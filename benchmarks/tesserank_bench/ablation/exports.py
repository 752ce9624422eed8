"""Which rows share an artefact: those whose segments files and options make the same index."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from tesserank.segments.reader import parse_segments
from tesserank_bench.ablation.rows import Row, Table
from tesserank_evaluation.exporting import export_held_out
from tesserank_export.heldout import PLAIN


@dataclass(frozen=True)
class Group:
    """Rows that one export serves. ``segments``: its segments file, with every space that a row of it wants."""

    key: str
    segments: str
    options: Mapping[str, Any]
    rows: tuple[Row, ...]

    def export(self, args: argparse.Namespace, work: Path) -> Path:
        """Its artefact, exported without the users' last items; kept from before where nothing has changed."""
        path = work / f"{self.key}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.segments, encoding="utf-8")
        own = {"segments": path, "name": f"{args.name}-{self.key}", "fit": False, **self.options}
        return export_held_out(argparse.Namespace(**{**vars(args), **own}), PLAIN)


def grouped(rows: Sequence[Row], full: Table) -> list[Group]:
    """Rows by the artefact that they need, in the order in which it is needed first."""
    members: dict[str, list[Row]] = {}
    for row in rows:
        members.setdefault(_key(row, full), []).append(row)
    return [_group(key, own, full) for key, own in members.items()]


def text_of(table: Table) -> str:
    """A segments file."""
    return tomli_w.dumps(table)


def _key(row: Row, full: Table) -> str:
    """A hash of what the index is made of, spaces apart: an index may have more of them than a row asks for."""
    table = row.segments(full)
    made_of = [table.get("items", {}), table.get("learned", {}), dict(row.options)]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:12]


def _group(key: str, rows: Sequence[Row], full: Table) -> Group:
    tables = [row.segments(full) for row in rows]
    wanted = [parse_segments(text_of(table)).spaces() for table in tables]
    spaces = {space: 1.0 for own in wanted for space in own}
    table: Table = {
        **full,
        **{part: tables[0][part] for part in ("items", "learned") if part in tables[0]},
        "history": {**full.get("history", {}), "spaces": spaces},
        "search": {"method": "exhaustive"},  # every item is scored here, so nothing needs to be prepared for less
    }
    return Group(key, text_of(table), rows[0].options, tuple(rows))
