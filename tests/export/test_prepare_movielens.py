"""MovieLens as .csv and as .dat: titles, years, encodings, tags; and a real release, spelled as it came."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from tesserank.errors import DataError
from tesserank_export.prepare.movielens import MovieLens, split_title
from tests.export.prepared import prepared, read

REAL = Path(__file__).parents[3] / "shared" / "data" / "mlsmall"


def release(directory: Path, files: dict[str, str], encoding: str = "utf-8") -> Path:
    directory.mkdir()
    for name, text in files.items():
        (directory / name).write_bytes(text.encode(encoding))
    return directory


def test_csv_releases_have_quoted_titles_genres_years_and_tags(tmp_path: Path) -> None:
    directory = release(
        tmp_path / "ml-latest-small",
        {
            "movies.csv": "movieId,title,genres\r\n"
            '50,"Usual Suspects, The (1995)",Crime|Mystery|Thriller\r\n'
            '2,"""Great"" Escape (1963) ",War\r\n'
            "40697,Babylon 5,(no genres listed)\r\n",
            "ratings.csv": "userId,movieId,rating,timestamp\r\n10,50,4.0,964982703\r\n9,2,3.5,964982703\r\n"
            "9,50,5.0,964981247\r\n9,40697,0.5,964990000\r\n",
            "tags.csv": "userId,movieId,tag,timestamp\r\n9,50,heist,1\r\n10,50,Twist Ending,2\r\n"
            "11,50,twist ending,3\r\n9,50, ,4\r\n",
        },
    )
    items, events, meta = prepared(MovieLens(directory), tmp_path / "out")
    assert items[0] == {
        "item_id": "50", "text": "The Usual Suspects (1995). Genres: Crime, Mystery, Thriller",
        "title": "The Usual Suspects", "category": "Crime", "genres": ["Crime", "Mystery", "Thriller"], "year": 1995,
        "tags": ["twist ending", "heist"],
    }  # fmt: skip
    assert items[1]["title"] == '"Great" Escape'
    assert items[2] == {
        "item_id": "40697", "text": "Babylon 5", "title": "Babylon 5", "category": "", "genres": [], "year": None,
        "tags": [],
    }  # fmt: skip
    assert events == [
        ("9", "50", "964981247", "rate", "5.0"),
        ("9", "2", "964982703", "rate", "3.5"),
        ("9", "40697", "964990000", "rate", "0.5"),
        ("10", "50", "964982703", "rate", "4.0"),
    ]
    assert meta["left_out"] == {"tags without text": 1}


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"], ids=["1M", "10M"])
def test_dat_releases_come_in_two_encodings(tmp_path: Path, encoding: str) -> None:
    directory = release(
        tmp_path / "ml",
        {
            "movies.dat": "1::Cité des enfants perdus, La (1995)::Adventure|Sci-Fi\n2::A::B: Sides (1998)::Drama\n",
            "ratings.dat": "1::1::5::978300760\n1::2::3::978302109\n",
        },
        encoding,
    )
    items, events, _ = prepared(MovieLens(directory), tmp_path / "out")
    assert [item["title"] for item in items] == ["La Cité des enfants perdus", "A::B: Sides"]
    assert events == [("1", "1", "978300760", "rate", "5.0"), ("1", "2", "978302109", "rate", "3.0")]


@pytest.mark.parametrize(
    ("name", "title", "year"),
    [
        ("Toy Story (1995)", "Toy Story", 1995),
        ("Seven (a.k.a. Se7en) (1995)", "Seven (a.k.a. Se7en)", 1995),
        ("American President, The (1995)", "The American President", 1995),
        ("Postman, The (Postino, Il) (1994)", "The Postman (Postino, Il)", 1994),
        ("Avventura, L' (Adventure, The) (1960)", "L'Avventura (Adventure, The)", 1960),
        ("Death Note (2006–2007)", "Death Note", 2006),
        ("Fawlty Towers (1975-)", "Fawlty Towers", 1975),
        ("2001: A Space Odyssey (1968)", "2001: A Space Odyssey", 1968),
        ("Good, the Bad and the Ugly", "Good, the Bad and the Ugly", None),
        ("(1995)", "(1995)", None),
    ],
)
def test_titles_lose_their_year_and_begin_with_their_article(name: str, title: str, year: int | None) -> None:
    assert split_title(name) == (title, year)


def test_low_ratings_are_left_out_on_request(tmp_path: Path) -> None:
    directory = release(
        tmp_path / "ml", {"movies.dat": "1::A (1995)::X\n2::B (1996)::X\n", "ratings.dat": "7::1::2::9\n7::2::4::8\n"}
    )
    items, events, meta = prepared(MovieLens(directory), tmp_path / "out", min_rating=3.5)
    assert [item["item_id"] for item in items] == ["2"]
    assert events == [("7", "2", "8", "rate", "4.0")]
    assert meta["left_out"] == {"events rated below 3.5": 1, "items without an event": 1}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"movies.csv": "movieId,title,genres\n"}, "neither ratings.csv nor ratings.dat in it"),
        ({"movies.csv": "movieId,name\n1,A\n", "ratings.csv": ""}, "movies.csv line 2: movieId, name are its fields"),
        ({"movies.dat": "1::A (1995)\n", "ratings.dat": ""}, r"movies.dat line 1: 2 values separated by '::', but 3"),
        (
            {"movies.dat": "1::A (1995)::X\n", "ratings.dat": "1::1::good::9\n"},
            "ratings.dat line 1: the rating is 'good'",
        ),
        ({"movies.dat": "1::A (1995)::X\n", "ratings.dat": "1::1::5::\n"}, "line 1: the timestamp is ''"),
        ({"movies.dat": "", "ratings.dat": ""}, "movies.dat: no items in it"),
        ({"movies.dat": "1::A (1995)::X\n", "ratings.dat": ""}, "no event is left: 1 items without an event"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, files: dict[str, str], message: str) -> None:
    directory = release(tmp_path / "ml", files)
    with pytest.raises(DataError, match=message):
        prepared(MovieLens(directory), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no data set at {REAL}")
def test_a_real_release_becomes_the_events_that_others_made_of_it(tmp_path: Path) -> None:
    items, events, meta = read(REAL)
    directory = tmp_path / "ml-latest-small"
    directory.mkdir()
    with (directory / "movies.csv").open("w", newline="", encoding="utf-8") as file:
        movies = csv.writer(file)
        movies.writerow(["movieId", "title", "genres"])
        for item in items:
            year = f" ({item['year']})" if item["year"] else ""
            movies.writerow([item["item_id"], item["title"] + year, "|".join(item["genres"]) or "(no genres listed)"])
    with (directory / "ratings.csv").open("w", newline="", encoding="utf-8") as file:
        ratings = csv.writer(file)
        ratings.writerow(["userId", "movieId", "rating", "timestamp"])
        ratings.writerows((user, item, rating, time) for user, item, time, _, rating in events)
    _, _, ours = prepared(MovieLens(directory), tmp_path / "out")
    assert gzip.decompress((tmp_path / "out" / "events.csv.gz").read_bytes()) == gzip.decompress(
        (REAL / "events.csv.gz").read_bytes()
    )
    same = ("users", "items", "events", "distinct_pairs", "mean_history", "median_history", "max_history")
    assert [ours[key] for key in same] == [meta[key] for key in same]
    with gzip.open(tmp_path / "out" / "items.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    theirs = [item["text"].removesuffix(". Genres: ").replace(" (None)", "") for item in items]
    # Those others left an article behind where an alias follows it, as in "Postman, The (Postino, Il)".
    assert sum(a == b for a, b in zip(texts, theirs, strict=True)) > 0.97 * len(items)
