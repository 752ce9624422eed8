"""A catalogue that is large enough: items of one that is not, again under other ids."""

from __future__ import annotations

import gzip
import json
from itertools import count, islice
from pathlib import Path

from tesserank.errors import DataError
from tesserank.files import link_or_copy
from tesserank_bench.latency.served import Dataset


def enlarged(dataset: Dataset, items: int, folder: Path) -> Dataset:
    """The dataset itself if it has ``items`` with a text, else one in ``folder`` that repeats its texts until it has.

    Late interaction and the cross-encoder cost the same for a text that others have too. Raises DataError if there is
    none to repeat.
    """
    with gzip.open(dataset.items, "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["text"].split()]
    if len(rows) >= items:
        return dataset
    if not rows:
        raise DataError(f"no item of {dataset.items} has a text")
    folder.mkdir(parents=True, exist_ok=True)
    repeated = (row if turn == 0 else row | {"item_id": f"{row['item_id']}~{turn}"} for turn in count() for row in rows)
    with gzip.open(folder / "items.jsonl.gz", "wt", encoding="utf-8", compresslevel=1) as lines:
        lines.writelines(json.dumps(row) + "\n" for row in islice(repeated, items))
    (folder / "events.csv.gz").unlink(missing_ok=True)
    link_or_copy(dataset.events, folder / "events.csv.gz")
    return Dataset.within(folder, f"{dataset.name}, its texts repeated up to {items:,} items")
