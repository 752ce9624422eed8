"""This project's charts on Locust's web page: below Locust's own, drawn by the same code as the report's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tesserank_loadtest.charts import live_page
from tesserank_loadtest.monitor import read_readings
from tesserank_loadtest.reports import Reports
from tesserank_loadtest.server_figures import server_series

CHARTS = "/tesserank"
DATA = "/tesserank/series"
FRAME = f'<iframe src=".{CHARTS}" title="tesserank" style="border:0;width:100%;height:760px"></iframe>'


def extend(app: Any, reports: Reports) -> None:
    """Add the charts and their data to the Flask application of Locust's web page, and show them on its first page."""
    app.add_url_rule(CHARTS, "tesserank_charts", lambda: live_page(DATA.removeprefix("/")))
    app.add_url_rule(DATA, "tesserank_series", lambda: _json(server_series(read_readings(reports.server))))
    app.after_request(_show)


def _json(data: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """As it is: Flask itself would sort the stages by name."""
    return json.dumps(data), {"Content-Type": "application/json"}


def _show(response: Any) -> Any:
    """Put the charts below Locust's application, which is one element that its own script fills."""
    from flask import request

    if request.path == "/" and response.mimetype == "text/html":
        page = response.get_data(as_text=True)
        response.set_data(page.replace('<div id="root"></div>', f'<div id="root"></div>{FRAME}', 1))
    return response
