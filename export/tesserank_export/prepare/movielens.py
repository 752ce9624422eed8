"""MovieLens: the directory of any release with movies and ratings, as .csv (latest, 20M, 25M, 32M) or .dat (1M, 10M).

`.dat` files have no header and separate values by ``::``; those of 1M are in ISO 8859-1, those of 10M in UTF-8.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tesserank.errors import DataError
from tesserank_export.prepare.records import About, Event, Item, clean_id, clean_text, parse_number
from tesserank_export.tables import MISSING, Row, read_lines, read_rows

KIND = "rate"
_NO_GENRES = "(no genres listed)"
_YEAR = re.compile(r"^(.*\S)\s*\((\d{4})(?:[-–]\d{0,4})?\)$")
_ARTICLE = re.compile(r"^(.*), (The|A|An|Le|La|Les|L'|Un|Une|El|Los|Las|Il|Gli|Der|Die|Das|Den|Det)( \(.*)?$")
# Columns by file, and how .csv calls them.
_FIELDS = {
    "movies": ("movieId", "title", "genres"),
    "ratings": ("userId", "movieId", "rating", "timestamp"),
    "tags": ("userId", "movieId", "tag", "timestamp"),
}


class MovieLens:
    """The files ``movies``, ``ratings`` and, if it is there, ``tags`` of a directory."""

    about = About(
        scenario="online video",
        licence="MovieLens (GroupLens, University of Minnesota): for research, acknowledge; see the release's README",
        notes="an event is a rating; tags are a field of their own, the most given first, and not in the text",
    )

    def __init__(self, directory: Path) -> None:
        self._movies, self._ratings = _need(directory, "movies"), _need(directory, "ratings")
        self._tags = _find(directory, "tags")
        self.files: Sequence[Path] = [path for path in (self._movies, self._ratings, self._tags) if path]
        self.skipped: Counter[str] = Counter()

    def items(self) -> Iterator[Item]:
        """Tags are counted first: memory for every distinct pair of movie and tag."""
        tags = self._read_tags()
        for row in _rows(self._movies, "movies"):
            movie, name, genre_list = row.values
            movie_id = clean_id(movie, row.where, "the movie's id")
            title, year = split_title(clean_text(name))
            genres = [] if genre_list == _NO_GENRES else [genre for genre in genre_list.split("|") if genre]
            label = title if year is None else f"{title} ({year})"
            text = f"{label}. Genres: {', '.join(genres)}" if genres else label
            given = tags.get(movie_id, Counter())
            more = {"genres": genres, "year": year, "tags": sorted(given, key=lambda tag: (-given[tag], tag))}
            yield Item(movie_id, text, title, genres[0] if genres else "", more)

    def _read_tags(self) -> dict[str, Counter[str]]:
        tags: dict[str, Counter[str]] = {}
        for row in _rows(self._tags, "tags") if self._tags else ():
            _, movie, tag, _ = row.values
            if word := clean_text(tag).lower():
                tags.setdefault(movie, Counter())[word] += 1
            else:
                self.skipped["tags without text"] += 1
        return tags

    def events(self) -> Iterator[Event]:
        for row in _rows(self._ratings, "ratings"):
            user, movie, rating, timestamp = row.values
            yield Event(
                clean_id(user, row.where, "the user's id"),
                clean_id(movie, row.where, "the movie's id"),
                int(parse_number(timestamp, row.where, "the timestamp")),
                KIND,
                parse_number(rating, row.where, "the rating"),
            )


def split_title(name: str) -> tuple[str, int | None]:
    """``Usual Suspects, The (1995)`` -> ``The Usual Suspects``, 1995. Of a range of years the first counts."""
    found = _YEAR.match(name)
    title, year = (found[1], int(found[2])) if found else (name, None)
    if moved := _ARTICLE.match(title):
        rest, article, alias = moved.groups()
        title = f"{article}{'' if article.endswith(chr(39)) else ' '}{rest}{alias or ''}"
    return title, year


def _find(directory: Path, name: str) -> Path | None:
    candidates = [directory / f"{name}{end}" for end in (".csv", ".dat", ".csv.gz", ".dat.gz")]
    return next((path for path in candidates if path.is_file()), None)


def _need(directory: Path, name: str) -> Path:
    if found := _find(directory, name):
        return found
    raise DataError(f"{directory}: neither {name}.csv nor {name}.dat in it: name the unpacked directory of a release")


def _rows(path: Path, name: str) -> Iterator[Row]:
    """Rows with every one of the file's fields, as str."""
    fields = _FIELDS[name]
    if ".dat" not in path.suffixes:
        for row in read_rows(path, fields):
            if MISSING in row.values:
                raise DataError(f"{row.where}: {', '.join(row.present)} are its fields, {', '.join(fields)} are needed")
            yield row
        return
    for number, line in enumerate(read_lines(path, _encoding(path)), 1):
        if line.strip():
            yield Row(path, "line", number, _split(line.rstrip("\r\n"), len(fields), f"{path} line {number:,}"), fields)


def _split(line: str, count: int, where: str) -> tuple[str, ...]:
    """The values of a line; a title or a tag, which stand before the last value, may hold the separator themselves."""
    values = line.split("::")
    if len(values) < count:
        raise DataError(f"{where}: {len(values)} values separated by '::', but {count} are needed")
    return (*values[: count - 2], "::".join(values[count - 2 : -1]), values[-1])


def _encoding(path: Path) -> str:
    """UTF-8 if every line is, else ISO 8859-1, in which any bytes are text."""
    try:
        for _ in read_lines(path):
            pass
    except DataError as error:
        if isinstance(error.__cause__, UnicodeDecodeError):
            return "latin-1"
        raise
    return "utf-8"
