"""``tesserank evaluate --through-server``: what a real server answers ranks as the artefact does in this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from examples.sample_data import SamplePaths
from tesserank.errors import ArtifactError
from tesserank_evaluation.late_interaction import TesserankInProcess, opened
from tesserank_evaluation.metrics import gains
from tesserank_evaluation.ranking import rank
from tesserank_evaluation.recommender import Scores
from tesserank_evaluation.split import Cases, History, make_cases
from tesserank_evaluation.through_server import ServedRanks
from tesserank_export.catalog import Catalog, read_catalog
from tesserank_export.events import read_events
from tests.serving.pipeline import Served

USERS = 40


@pytest.fixture(scope="module")
def catalog(sample: SamplePaths) -> Catalog:
    return read_catalog(sample.items)


@pytest.fixture(scope="module")
def cases(sample: SamplePaths, catalog: Catalog) -> Cases:
    return make_cases(read_events(sample.events, catalog), USERS, 0, "plain")


@pytest.fixture
def in_process(served: Served) -> Iterator[TesserankInProcess]:
    with opened(served.offline.artifact, 1, 1 << 24) as recommender:
        yield recommender


def test_a_server_ranks_as_the_artefact_does_in_process(
    served: Served, catalog: Catalog, cases: Cases, in_process: TesserankInProcess
) -> None:
    limits = in_process.limits
    with served.client() as client:
        ranks = ServedRanks(client, catalog, limits.max_history_events)
        ranks.check_serves(in_process, cases.histories[:8])
        found = ranks.rank(cases, lambda count: None)
    expected = rank(in_process, cases, len(catalog), lambda count: None)
    assert (found.lists == expected.lists).mean() > 0.99  # rounding may turn neighbours around
    ours, theirs = gains(found.better, found.tied), gains(expected.better, expected.tied)
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name].mean(), values.mean(), atol=0.01, err_msg=name)
    assert ranks.unanswered == 0


class Backwards:
    """The artefact's scores with their signs turned around: another artefact's, for all that a list can tell."""

    def __init__(self, own: TesserankInProcess) -> None:
        self._own = own
        self.settings: dict[str, object] = {}

    def scores(self, histories: tuple[History, ...]) -> Scores:
        return -self._own.scores(histories)


@pytest.mark.parametrize("served", ["item"], indirect=True)
def test_a_server_of_another_artefact_is_found_out(
    served: Served, catalog: Catalog, cases: Cases, in_process: TesserankInProcess
) -> None:
    with served.client() as client:
        ranks = ServedRanks(client, catalog, in_process.limits.max_history_events)
        with pytest.raises(ArtifactError, match="it serves another one"):
            ranks.check_serves(Backwards(in_process), cases.histories[:8])  # type: ignore[arg-type]
        first = cases.histories[0]
        alone = History(np.zeros(1, dtype=np.int32), first.timestamps[:1], first.kinds[:1])
        known = Catalog.of([catalog.item_ids[0]], ["the only one here, of many there"])
        other = ServedRanks(client, known, in_process.limits.max_history_events)
        with pytest.raises(ArtifactError, match="which the catalogue lacks"):
            other.rank(replace(cases, histories=(alone,) * len(cases.histories)), lambda count: None)


@pytest.mark.parametrize("served", ["item"], indirect=True)
def test_a_user_the_server_can_say_nothing_about_has_all_items_tied(
    served: Served, catalog: Catalog, cases: Cases, in_process: TesserankInProcess
) -> None:
    with served.client() as client:
        ranks = ServedRanks(client, catalog, in_process.limits.max_history_events)
        wordless = History(np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int64), (), cases.histories[0].asked_at)
        changed = Cases(cases.protocol, cases.held, (wordless, *cases.histories[1:]), cases.same_time)
        found = ranks.rank(changed, lambda count: None)
    assert ranks.unanswered == 1
    assert (found.better[0], found.tied[0]) == (0, len(catalog))
    assert (found.lists[0] < 0).all()
    assert (found.lists[1] >= 0).all()
