"""Pages with charts: style and script stand in the page itself, which asks no other server for anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_EVERY_MS = 2000  # the live page reads its data again


def page(title: str, body: str, script: str) -> str:
    """A whole HTML page. ``title`` and ``body`` are HTML; ``script`` runs after the functions of charts.js."""
    style, charts = ((_HERE / name).read_text(encoding="utf-8") for name in ("charts.css", "charts.js"))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n<style>{style}</style>'
        f"</head>\n<body>\n{body}\n<script>{charts}\n{script}</script>\n</body></html>\n"
    )


def embedded(data: Mapping[str, Any]) -> str:
    """Data as JavaScript within a page: no text in it can end the script."""
    return json.dumps(data).replace("<", "\\u003c")


def live_page(data_url: str) -> str:
    """The server's charts, drawn again as the data at ``data_url``, relative to the page, grows."""
    script = (
        f'const at = "{data_url}", parent = document.getElementById("charts");\n'
        "async function draw() {\n"
        "  const answer = await fetch(at);\n"
        "  if (answer.ok) { const data = await answer.json(); parent.replaceChildren(); serverCharts(parent, data); }\n"
        "}\n"
        f"draw(); setInterval(draw, {_EVERY_MS});"
    )
    return page("tesserank: the server", '<h1>The server</h1><div id="charts" class="charts"></div>', script)
