"""What rules and dashboards ask for is what a server exposes: names, and the labels that select series."""

from __future__ import annotations

import urllib.request

from tesserank.server.metrics_page import parse_metrics
from tests.deploy.monitoring import expressions, recorded, selected
from tests.serving.pipeline import QUERIES, TIMEOUT_S, Served

# Prometheus' own, and what Triton's documentation says it exposes where there is a GPU.
ELSEWHERE = {"up", "nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes"}


def test_rules_and_dashboards_ask_for_metrics_that_there_are(by_session: Served) -> None:
    with by_session.client() as client:
        client.recommend(texts={"query": QUERIES[0]})
    with urllib.request.urlopen(by_session.server.urls.metrics, timeout=TIMEOUT_S) as answer:
        samples = parse_metrics(answer.read().decode())
    exposed = {name for name, _ in samples}
    asked = [(where, found) for where, expression in expressions() for found in selected(expression)]
    assert len(asked) > 20
    for where, found in asked:
        if found.metric in ELSEWHERE | recorded():
            continue
        assert found.metric in exposed, f"{where} asks for {found.metric}, which the server does not expose"
        series = [labels for name, labels in samples if name == found.metric]
        assert any(found.labels <= labels for labels in series), f"{where}: no series of {found}"


def test_the_dashboard_shows_every_metric_of_tesserank(by_session: Served) -> None:
    with urllib.request.urlopen(by_session.server.urls.metrics, timeout=TIMEOUT_S) as answer:
        own = {name for name, _ in parse_metrics(answer.read().decode()) if name.startswith("tesserank_")}
    shown = {found.metric for where, expression in expressions() if ".json:" in where for found in selected(expression)}
    assert own - shown == set()
