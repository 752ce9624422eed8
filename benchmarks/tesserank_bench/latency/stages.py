"""Where the time of a request goes, from Triton's statistics and the models' own metrics, read before and after."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tritonclient.grpc as triton

from tesserank.server.metrics_page import Labels, parse_metrics

TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Totals:
    """What a server has counted since its start, or between two readings."""

    statistics: Mapping[tuple[str, str, str], int]  # (model, "queue", "ns") and the like: Triton's
    metrics: Mapping[tuple[str, Labels], float]  # the metrics page

    def since(self, before: Totals) -> Totals:
        """What has been added since an earlier reading."""
        return Totals(
            {key: value - before.statistics.get(key, 0) for key, value in self.statistics.items()},
            {key: value - before.metrics.get(key, 0.0) for key, value in self.metrics.items()},
        )

    def statistic(self, model: str, stage: str, unit: str) -> int:
        """Of a model: ``stage`` is success, queue, compute_input, compute_infer, ...; ``unit`` is count or ns."""
        return self.statistics.get((model, stage, unit), 0)

    def metric(self, name: str, **labels: str) -> float:
        """The sum over all metrics of a name that have these labels."""
        wanted = set(labels.items())
        return sum(value for (found, own), value in self.metrics.items() if found == name and wanted <= own)


class Observer:
    """Reads one server's totals; a few milliseconds each time, so not between requests that are timed."""

    def __init__(self, grpc_url: str, metrics_url: str) -> None:
        self._client: Any = triton.InferenceServerClient(grpc_url)
        self._metrics_url = metrics_url

    def totals(self) -> Totals:
        """The totals now."""
        answer = self._client.get_inference_statistics(as_json=True, client_timeout=TIMEOUT_S)
        statistics = {
            (model["name"], stage, unit): int(duration.get(unit, 0))
            for model in answer["model_stats"]
            for stage, duration in model.get("inference_stats", {}).items()
            for unit in ("count", "ns")
        }
        with urllib.request.urlopen(self._metrics_url, timeout=TIMEOUT_S) as page:
            return Totals(statistics, parse_metrics(page.read().decode()))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
