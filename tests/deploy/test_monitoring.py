"""Rules and dashboards that Prometheus and Grafana would take; their metrics: tests/serving/test_monitoring.py."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.monitoring import DASHBOARDS, DEPLOY, RULES, expressions, panels, recorded, rules, selected

COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
DATASOURCES = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text(encoding="utf-8"))
dashboards = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_expressions_are_promql_and_name_metrics(where: str, expression: str) -> None:
    assert selected(expression), where


def test_what_is_not_promql_is_refused() -> None:
    with pytest.raises(ValueError, match="expected type matrix"):
        selected("rate(tesserank_cache_hits_total)")  # rate takes a range


def test_alerts_use_recorded_names_that_exist_and_say_what_is_wrong() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len(alerts) >= 3
    for rule in alerts:
        names = {found.metric for found in selected(rule["expr"])}
        assert {name for name in names if ":" in name} <= recorded(), rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]


def test_rules_have_names_of_their_own() -> None:
    names = [rule.get("record") or rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)


def test_promtool_finds_no_fault() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: it comes with Debian's package prometheus")
    for arguments in (("check", "rules", RULES), ("check", "config", DEPLOY / "prometheus" / "prometheus.yml")):
        done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


@dashboards
def test_panels_ask_the_provisioned_source(dashboard: Path) -> None:
    uids = {source["uid"] for source in DATASOURCES["datasources"]}
    board = json.loads(dashboard.read_text(encoding="utf-8"))
    variables = [variable["datasource"] for variable in board["templating"]["list"]]
    for panel in board["panels"]:
        variables += [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    assert {source["uid"] for source in variables} <= uids
    assert board["uid"]
    assert board["title"]


@dashboards
def test_panels_have_ids_of_their_own_and_do_not_overlap(dashboard: Path) -> None:
    found = panels(dashboard)
    assert len({panel["id"] for panel in found}) == len(found) >= 5
    for one, other in itertools.combinations((panel["gridPos"] for panel in found), 2):
        assert not _overlap(one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in found)


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    def apart(start: str, size: str) -> bool:
        return one[start] + one[size] <= other[start] or other[start] + other[size] <= one[start]

    return not (apart("x", "w") or apart("y", "h"))


def test_grafana_reads_what_is_mounted() -> None:
    mounts: dict[str, Any] = dict(mount.split(":")[:2] for mount in COMPOSE["services"]["grafana"]["volumes"])
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/tesserank.yaml").read_text(encoding="utf-8"))
    folder = provider["providers"][0]["options"]["path"]
    assert mounts["./grafana/dashboards"] == folder
    home = COMPOSE["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home in {f"{folder}/{dashboard.name}" for dashboard in DASHBOARDS}
    assert DATASOURCES["datasources"][0]["url"] == "http://prometheus:9090"
    assert "prometheus" in COMPOSE["services"]
