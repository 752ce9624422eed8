"""What the documentation names exists: links, headings, commands, options, paths, keys, tensors."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from tesserank import protocol
from tesserank.limits import Limits
from tesserank.segments.config import (
    AggregationConfig,
    HistoryConfig,
    HistorySpace,
    ItemsConfig,
    LearnedConfig,
    SearchConfig,
    SegmentsConfig,
    TextConfig,
)
from tesserank.segments.reader import parse_segments

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
SECTIONS: dict[str, type[Any]] = {
    "The file": SegmentsConfig,
    "[items]": ItemsConfig,
    "[history]": HistoryConfig,
    "[history.spaces.NAME]": HistorySpace,
    "[learned.NAME]": LearnedConfig,
    "[texts.NAME]": TextConfig,
    "[aggregation]": AggregationConfig,
    "[search]": SearchConfig,
    "[limits]": Limits,
}
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def fenced(text: str) -> list[str]:
    return re.findall(r"^```.*?\n(.*?)^```", text, flags=re.M | re.S)


def code(text: str) -> list[str]:
    """Every line of a fenced block and every `inline` piece."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return [line for block in fenced(text) for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", prose)


def links(text: str) -> list[str]:
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in target]


def anchors(text: str) -> set[str]:
    """The headings of a page, as GitHub spells them in links."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def section(text: str, title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}$\n(.*?)(?=^## |\Z)", text, flags=re.M | re.S)
    assert found, f"no section {title!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of a table's rows whose first cell is `code`."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:3] == "| `"]


def commands() -> dict[str, str]:
    """Module of each command of the CLI."""
    own = (ROOT / "tesserank" / "commands").glob("[a-z]*.py")
    others = {entry.name: entry.value for entry in entry_points(group="tesserank.commands")}
    return {path.stem: f"tesserank.commands.{path.stem}" for path in own} | others


def options(command: str) -> set[str]:
    """The options of a command, those of its subcommands included."""
    parser = argparse.ArgumentParser()
    import_module(commands()[command]).add_arguments(parser)
    nested = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    parsers = [parser, *(choice for choices in nested for choice in choices.values())]
    return {option for shown in parsers for option in re.findall(r"--[a-z][a-z-]+", shown.format_help())}


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", read(ROOT / "Makefile"), flags=re.M))


@pages
def test_relative_links_resolve(page: Path) -> None:
    for link in links(read(page)):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in anchors(read(target)), f"{page.name} links to {link}"


@pages
def test_make_targets_exist(page: Path) -> None:
    named = {target for piece in code(read(page)) for target in re.findall(r"\bmake ([a-z]+(?:-[a-z]+)*)", piece)}
    assert named <= makefile_targets()


@pages
def test_commands_exist(page: Path) -> None:
    named = {name for piece in code(read(page)) for name in re.findall(r"\btesserank ([a-z]+)", piece)}
    assert named <= set(commands())


@pages
def test_options_of_commands_exist(page: Path) -> None:
    for piece in code(read(page)):
        for command, rest in re.findall(r"\b(?:tesserank|make) ([a-z]+)([^#]*)", piece):
            if command in commands():
                assert set(re.findall(r"--[a-z][a-z-]+", rest)) <= options(command), piece


def test_the_readme_names_commands_of_both_kinds() -> None:
    text = "\n".join(code(read(ROOT / "README.md")))
    for wanted in ("make demo", "make test", "make export", "make serve", "tesserank recommend", "tesserank doctor"):
        assert wanted in text


def tree_paths(text: str) -> Iterator[str]:
    """The paths of an annotated tree, two spaces a level."""
    parents: list[str] = []
    for line in fenced(text)[0].splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        parents[depth:] = [name]
        yield "".join(parents)


def test_the_paths_of_the_annotated_tree_exist() -> None:
    paths = list(tree_paths(section(read(ROOT / "README.md"), "What lies where")))
    assert len(paths) > 10
    for path in paths:
        assert (ROOT / path).exists(), path
        assert (ROOT / path).is_dir() == path.endswith("/"), path


def test_paths_in_the_tables_of_the_overview_and_of_contributing_exist() -> None:
    for page in (ROOT / "docs/architecture/00-overview.md", ROOT / "CONTRIBUTING.md"):
        # the table of words names channels, which look like paths
        cells = [line for line in read(page).split("## Words")[0].splitlines() if line.startswith("|")]
        named = [path for line in cells for path in re.findall(r"`([a-z_.-]+/[\w./-]*)`", line)]
        assert named
        for path in named:
            assert (ROOT / path).exists(), f"{page.name} names {path}"


def default_of(entry: Field[Any]) -> Any:
    return entry.default_factory() if entry.default_factory is not MISSING else entry.default


@pytest.mark.parametrize("title", SECTIONS)
def test_the_segments_reference_names_every_key_and_no_other(title: str) -> None:
    named = [row[0].strip("`") for row in rows(section(read(ROOT / "docs/segments.md"), title))]
    assert sorted(named) == sorted(entry.name for entry in fields(SECTIONS[title]))


@pytest.mark.parametrize("title", [title for title in SECTIONS if title not in ("The file", "[history.spaces.NAME]")])
def test_the_segments_reference_has_the_defaults(title: str) -> None:
    table = {row[0].strip("`"): row[1].strip("`") for row in rows(section(read(ROOT / "docs/segments.md"), title))}
    name = "popularity"  # as good a name of a text as of a space
    header = "[" + title.strip("[]").replace("NAME", name) + "]"
    body = "\n".join(f"{key} = {value}" for key, value in table.items())
    config = parse_segments(f"{header}\n{body}\n")  # read as a user's file would be
    key = title.strip("[]").split(".")[0]
    found = getattr(config, key)[name] if "NAME" in title else getattr(config, key)
    for entry in fields(SECTIONS[title]):
        assert getattr(found, entry.name) == default_of(entry), entry.name


def test_the_segments_reference_covers_every_section() -> None:
    titles = re.findall(r"^## (.*)$", read(ROOT / "docs/segments.md"), flags=re.M)
    assert titles == list(SECTIONS)


def test_the_table_of_tensors_is_the_protocols() -> None:
    table = rows(section(read(ROOT / "docs/architecture/04-serving.md"), "Tensors"))
    named = {(name.strip("`"), datatype, shape.count(",") + 1) for name, datatype, shape, _ in table}
    wanted = {
        (tensor.name, tensor.datatype + ", optional" * tensor.optional, len(tensor.shape))
        for interface in protocol.INTERFACES
        for tensor in (*interface.inputs, *interface.outputs)
    }
    assert named == wanted
    assert len(table) == len(named)


def test_the_tables_of_models_and_of_error_codes_are_the_protocols() -> None:
    text = read(ROOT / "docs/architecture/04-serving.md")
    assert {row[0].strip("`") for row in rows(section(text, "Models"))} == {i.model for i in protocol.INTERFACES}
    codes = [row[0].strip("`") for row in rows(section(text, "Client and errors"))]
    assert codes == [code.value for code in protocol.ErrorCode]


def test_the_licence_is_whole() -> None:
    text = read(ROOT / "LICENSE")
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert all(f"\n   {number}. " in text for number in range(1, 10))
    assert "Copyright 2026 The tesserank authors" in text
