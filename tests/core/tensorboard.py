"""TensorBoard's event files, read by their format: TFRecords (length, checksum, data, checksum) of Event messages."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event


@dataclass
class Found:
    """Scalars by tag and step, and texts by tag."""

    scalars: dict[str, dict[int, float]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


def read_run(directory: Path) -> Found:
    """What one run's event file has."""
    [path] = directory.glob("events.out.tfevents.*")
    found, data, place = Found(), path.read_bytes(), 0
    while place < len(data):
        [length] = struct.unpack_from("<Q", data, place)
        event = Event.FromString(data[place + 12 : place + 12 + length])
        place += length + 16
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.scalars.setdefault(value.tag, {})[event.step] = value.simple_value
            elif value.HasField("tensor"):
                found.texts[value.tag.removesuffix("/text_summary")] = value.tensor.string_val[0].decode()
    return found
