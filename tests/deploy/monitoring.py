"""Reads what is asked of Prometheus: every expression of the rules and the dashboards, and the metrics it names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))


@dataclass(frozen=True)
class Selected:
    """A metric that an expression names, and the labels by which it selects series of it."""

    metric: str
    labels: frozenset[tuple[str, str]]


def rules() -> list[dict[str, Any]]:
    """The recording rules and alerts, in order."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def recorded() -> set[str]:
    """Names that recording rules give."""
    return {rule["record"] for rule in rules() if "record" in rule}


def panels(dashboard: Path) -> list[dict[str, Any]]:
    """The panels of a dashboard."""
    found: list[dict[str, Any]] = json.loads(dashboard.read_text(encoding="utf-8"))["panels"]
    return found


def expressions() -> list[tuple[str, str]]:
    """Where each expression stands, and the expression, with Grafana's variables replaced by values."""
    found = [(rule.get("record") or rule["alert"], rule["expr"]) for rule in rules()]
    for dashboard in DASHBOARDS:
        for panel in panels(dashboard):
            for target in panel["targets"]:
                expression = target["expr"].replace("$__rate_interval", "1m").replace("$model", "segment_ranker")
                assert "$" not in expression, f"{panel['title']}: a variable that this test does not know"
                found.append((f"{dashboard.name}: {panel['title']}", expression))
    return found


def selected(expression: str) -> list[Selected]:
    """The metrics of an expression. Raises ValueError where Prometheus would not take it."""
    found: list[Selected] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.MatrixSelector):
            node = node.vector_selector
        if isinstance(node, promql_parser.VectorSelector):
            labels = frozenset((matcher.name, matcher.value) for matcher in node.matchers.matchers)
            found.append(Selected(node.name, labels))

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found
