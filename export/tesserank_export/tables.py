"""Rows of a JSONL, CSV or Parquet file, one reader for all: the same values, the same errors, with the line of each.

Text files go through gzip when their name ends in ``.gz``. Rows are read one at a time: a log need not fit in memory.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from tesserank.errors import DataError
from tesserank.limits import Limits

FORMATS = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
MAX_ID_BYTES = Limits().max_id_bytes
_SHOWN_FIELDS = 20


class Missing:
    """The type of MISSING: what a row has in place of a field that it lacks."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = Missing()


class Row(NamedTuple):
    """``values`` in the order of the fields asked for; ``where`` is "FILE line 7", or "FILE row 7" in Parquet."""

    path: Path
    unit: str
    number: int
    values: tuple[Any, ...]
    present: Sequence[str]  # the fields that the row has, for messages

    @property
    def where(self) -> str:
        """The beginning of a message about this row."""
        return f"{self.path} {self.unit} {self.number:,}"


def read_rows(path: str | Path, fields: Sequence[str], delimiter: str | None = None) -> Iterator[Row]:
    """The named fields of every row of ``path``; a field that a row lacks is MISSING, a null is None.

    The format follows from the file's name: one of FORMATS. CSV has a header and gives every value as str; JSONL and
    Parquet keep their types. Blank lines are passed over. ``delimiter`` of CSV: None is a comma, or a tab in .tsv.

    Raises:
        DataError: no such file, a name of another format, a damaged file, invalid UTF-8, JSON or CSV.
    """
    path = Path(path)
    name = path.name.lower()
    if not name.endswith(FORMATS):
        raise DataError(f"{path}: cannot tell the format from the name; it must end in one of {', '.join(FORMATS)}")
    if name.endswith(".parquet"):
        with _as_data_errors(path):
            yield from _parquet_rows(path, fields)
    elif ".jsonl" in name[-9:]:
        yield from _jsonl_rows(path, fields)
    else:
        yield from _csv_rows(path, fields, delimiter or ("\t" if ".tsv" in name[-7:] else ","))


def read_lines(path: str | Path, encoding: str = "utf-8") -> Iterator[str]:
    """The lines of a text file, which is gzip if its name ends in ``.gz``, with their ends; read one at a time.

    Raises:
        DataError: no such file, a damaged one, or bytes that are not of ``encoding``, with the line.
    """
    path = Path(path)
    with _as_data_errors(path), _open_bytes(path) as stream:
        yield from _decoded_lines(path, stream, encoding)


def missing_field(row: Row, field: str, role: str, option: str) -> DataError:
    """The error for a row without ``field``, naming the fields that it has and the option that fixes it."""
    present = ", ".join(row.present[:_SHOWN_FIELDS]) + (", …" if len(row.present) > _SHOWN_FIELDS else "")
    return DataError(f"{row.where}: no field {field!r} for the {role}; fields present: {present}; set {option}")


def parse_id(value: object, where: str, what: str) -> str:
    """``value`` as an id: a string as it is, an integer in decimal.

    Raises:
        DataError: empty, of another type, longer than ``Limits.max_id_bytes``, or not expressible in UTF-8.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is None or value is MISSING:
        raise DataError(f"{where}: {what} is missing")
    if not isinstance(value, str):
        raise DataError(f"{where}: {what} is {value!r} of type {type(value).__name__}: ids are strings or integers")
    if not value.strip():
        raise DataError(f"{where}: {what} is empty")
    size = len(encode_text(value, where, what))
    if size > MAX_ID_BYTES:
        raise DataError(f"{where}: {what} {value[:40]!r}… has {size:,} bytes, the limit is {MAX_ID_BYTES:,}")
    return value


def encode_text(value: str, where: str, what: str) -> bytes:
    """``value`` in UTF-8; JSON's escapes can spell half a surrogate pair, which no encoder or wire can carry."""
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: {what} {value[:40]!r} holds a lone surrogate, which is not valid Unicode") from error


def _open_bytes(path: Path) -> BinaryIO:
    if path.name.lower().endswith(".gz"):
        return cast(BinaryIO, gzip.open(path, "rb"))
    return path.open("rb")


@contextmanager
def _as_data_errors(path: Path) -> Iterator[None]:
    if not path.is_file():
        raise DataError(f"{path}: {'is not a file' if path.exists() else 'no such file'}")
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged or truncated gzip file: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _decoded_lines(path: Path, stream: BinaryIO, encoding: str) -> Iterator[str]:
    for number, raw in enumerate(stream, 1):
        try:
            # Spreadsheets begin a UTF-8 file with a byte order mark, which would become part of the first field's name.
            yield raw.decode("utf-8-sig" if number == 1 and encoding == "utf-8" else encoding)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} line {number:,}: invalid {encoding.upper()}: byte 0x{raw[error.start]:02x} at byte "
                f"{error.start + 1:,} of the line; convert it first: iconv -f LATIN1 -t UTF-8"
            ) from error


def _jsonl_rows(path: Path, fields: Sequence[str]) -> Iterator[Row]:
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(f"{path} line {number:,}: invalid JSON: {error}") from error
        if not isinstance(record, dict):
            raise DataError(f"{path} line {number:,}: a JSON object is needed, found {type(record).__name__}")
        yield Row(path, "line", number, tuple(record.get(field, MISSING) for field in fields), list(record))


def _csv_rows(path: Path, fields: Sequence[str], delimiter: str) -> Iterator[Row]:
    reader = csv.reader(read_lines(path), delimiter=delimiter, strict=True)
    line = 1  # the line on which the row began: a quoted value may span several
    try:
        header = next(reader, [])
        if len(set(header)) < len(header):
            raise DataError(f"{path} line 1: a column name occurs twice in the header: {', '.join(header)}")
        columns = [header.index(field) if field in header else None for field in fields]
        while True:
            line = reader.line_num + 1
            values = next(reader, None)
            if values is None:
                return
            if not values:
                continue
            if len(values) != len(header):
                raise DataError(f"{path} line {line:,}: {len(values)} values but {len(header)} columns in the header")
            picked = tuple(MISSING if column is None else values[column] for column in columns)
            yield Row(path, "line", line, picked, header)
    except csv.Error as error:
        raise DataError(f"{path} line {line:,}: invalid CSV: {error}") from error


def _parquet_rows(path: Path, fields: Sequence[str]) -> Iterator[Row]:
    try:
        # Imported here: pyarrow is large, and the other formats do without.
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(f"{path}: Parquet needs pyarrow ({error}): pip install 'tesserank[export]'") from error

    try:
        with parquet.ParquetFile(path) as file:
            present = file.schema_arrow.names
            columns = [field for field in fields if field in present]
            number = 0
            for batch in file.iter_batches(columns=columns):
                lists = dict(zip(columns, (column.to_pylist() for column in batch.columns), strict=True))
                absent = [MISSING] * batch.num_rows
                for values in zip(*(lists.get(field, absent) for field in fields), strict=True):
                    number += 1
                    yield Row(path, "row", number, values, present)
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}") from error
