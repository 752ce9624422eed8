"""Two artefacts compared: agreement by its formulas, paired intervals, interleaved latency, the command."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tesserank.cli import main
from tesserank_evaluation.compare import latency as latencies
from tesserank_evaluation.compare.agreement import agreement, rank_biased_overlap, shared_items
from tesserank_evaluation.compare.compare import of_rankings, with_interval
from tesserank_evaluation.compare.latency import Answer, latency, time_both
from tesserank_evaluation.metrics import DEPTH
from tesserank_evaluation.ranking import NO_ITEM, Ranked
from tesserank_evaluation.split import History

orders = st.permutations(range(12))


def as_lists(*items: list[int]) -> NDArray[np.int32]:
    lists = np.full((len(items), DEPTH), NO_ITEM, dtype=np.int32)
    for row, own in zip(lists, items, strict=True):
        row[: len(own)] = own
    return lists


def naive_rbo(one: list[int], other: list[int], p: float) -> float:
    """Webber, Moffat and Zobel 2010, eq. 32, as it is written."""
    shared = [len({*one[:d]} & {*other[:d]}) for d in range(1, len(one) + 1)]
    tail = sum(x / d * p**d for d, x in enumerate(shared, 1))
    return shared[-1] / len(one) * p ** len(one) + (1 - p) / p * tail


@given(one=orders, other=orders, length=st.integers(1, 8))
def test_shared_items_and_rbo_are_those_of_sets(one: list[int], other: list[int], length: int) -> None:
    one, other = one[:length], other[:length]
    shared = shared_items(as_lists(one), as_lists(other))
    assert shared[0, :length].tolist() == [len({*one[:d]} & {*other[:d]}) for d in range(1, length + 1)]
    assert (shared[0, length:] == shared[0, length - 1]).all()
    found = rank_biased_overlap(shared, np.array([length]), 0.8)
    assert found[0] == pytest.approx(naive_rbo(one, other, 0.8))


def test_agreement_is_of_each_user_and_those_without_a_list_have_none() -> None:
    one = as_lists([*range(20)], [*range(20)], [])
    other = as_lists([*range(20)], [*range(5), *range(30, 45)], [])
    found = agreement(one, other)
    assert found["overlap@5"]["mean"] == found["same@5"]["mean"] == 1.0
    assert found["overlap@10"]["mean"] == pytest.approx((1 + 5 / 10) / 2)
    assert found["same@10"]["mean"] == 0.5
    assert found["overlap@50"]["mean"] == pytest.approx((1 + 5 / 20) / 2), "of the 20 that there are"
    expected = (1 + naive_rbo([*range(20)], [*range(5), *range(30, 45)], 0.9)) / 2
    assert found["rbo"]["mean"] == pytest.approx(expected, abs=1e-5)


def test_the_same_lists_agree_and_disjoint_ones_do_not() -> None:
    lists = as_lists([*range(50)], [*range(7)])
    assert {entry["mean"] for entry in agreement(lists, lists).values()} == {1.0}
    assert {entry["mean"] for entry in agreement(lists, as_lists([*range(50, 100)], [*range(7, 14)])).values()} == {0.0}


def test_lists_of_different_lengths_are_an_error() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        agreement(as_lists([1, 2]), as_lists([1]))


def test_an_interval_shows_what_it_excludes() -> None:
    assert with_interval({"mean": 0.01, "se": 0.005}) == {
        "mean": 0.01, "se": 0.005, "interval": [0.0002, 0.0198], "shown": "B is better",
    }  # fmt: skip
    assert with_interval({"mean": -0.01, "se": 0.005})["shown"] == "A is better"
    assert with_interval({"mean": 0.01, "se": 0.006})["shown"] == "no difference"
    assert with_interval({"mean": 0.01, "se": None}) == {"mean": 0.01, "se": None, "interval": None, "shown": "nothing"}


def ranked(*better: int) -> Ranked:
    lists = as_lists(*([*range(rank, rank + 20)] for rank in better))
    return Ranked(np.array(better), np.ones(len(better), dtype=np.int64), lists, 0.0)


def test_the_difference_is_b_less_a_user_by_user() -> None:
    found = of_rankings(ranked(1, 1, 3), ranked(0, 0, 3))
    assert found["quality"]["a"]["mrr@10"]["mean"] == pytest.approx((1 / 2 + 1 / 2 + 1 / 4) / 3, abs=1e-5)
    less = found["quality"]["difference"]["mrr@10"]
    assert less["mean"] == pytest.approx(1 / 3, abs=1e-5)
    assert less["se"] == pytest.approx(np.std([0.5, 0.5, 0.0], ddof=1) / 3**0.5, abs=1e-5)
    assert less["shown"] == "B is better"


def histories(count: int) -> list[History]:
    return [History(np.array([row], dtype=np.int32), np.zeros(1, dtype=np.int64), ("",)) for row in range(count)]


def test_both_are_asked_in_turn_either_first(monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked = [0.0], []
    monkeypatch.setattr(latencies, "perf_counter", lambda: now[0])

    def takes(name: str, seconds: float) -> Answer:
        def answer(history: History) -> object:
            asked.append((name, int(history.items[0])))
            now[0] += seconds * (1 + int(history.items[0]))
            return None

        return answer

    done: list[int] = []
    seconds = time_both([takes("a", 0.001), takes("b", 0.003)], histories(40), 0, done.append)
    np.testing.assert_allclose(seconds, np.outer([0.001, 0.003], np.arange(1, 41)))
    measured = asked[8:]  # four users of both warm up
    assert [user for _, user in measured] == [user for user in range(40) for _ in range(2)]
    firsts = [name for name, _ in measured[::2]]
    assert {*firsts} == {"a", "b"}
    assert all({one, other} == {"a", "b"} for (one, _), (other, _) in zip(measured[::2], measured[1::2], strict=True))
    assert sum(done) == 40


def test_the_interval_of_medians_is_around_what_differs() -> None:
    rng = np.random.default_rng(0)
    users = rng.lognormal(size=300)  # what histories differ by is in both
    seconds = np.stack([users, users + 0.5 + rng.normal(scale=0.05, size=300)]) / 1e3
    found = latency(seconds, seed=1)
    assert found["difference_ms"] == pytest.approx(found["b_p50_ms"] - found["a_p50_ms"], abs=2e-4)
    low, high = found["interval_ms"]
    assert 0 < low < 0.5 < high < 1
    assert found["users"] == len(found["samples_ms"]["a"]) == 300
    assert latency(seconds, seed=1) == found
    assert latency(seconds[:, :1], seed=1)["interval_ms"] is None


def typed(tiny: Path, a: Path, b: Path, *more: str) -> list[str]:
    files = ["--catalog", str(tiny / "items.jsonl"), "--events", str(tiny / "events.csv")]
    return ["compare", str(a), str(b), *files, "--threads", "1", *more]


def compared(argv: list[str], out: Path) -> dict[str, Any]:
    assert main([*argv, "--out", str(out)]) == 0
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def test_what_saw_the_log_beats_what_did_not(
    artifact: Path, text_only: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = compared(typed(tiny, text_only, artifact, "--latency-users", "5"), tmp_path / "ab.json")
    assert result["of"]["a"]["fitted_on"] == "nothing"
    assert result["of"]["b"]["fitted_on"] == "plain"
    assert result["of"]["ranked_users"] > 50
    assert result["quality"]["difference"]["ndcg@10"]["shown"] == "B is better"
    assert 0 < result["agreement"]["overlap@10"]["mean"] < 1
    assert result["latency"]["users"] == 5
    assert len(result["latency"]["interval_ms"]) == 2
    assert {"cpu", "commit", "seed"} <= set(result["conditions"])
    text = (tmp_path / "ab.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out.strip() == text.strip()
    assert re.search(r"^\| ndcg@10 \| .* \| B is better \|$", text, flags=re.M)
    assert "Rank-biased overlap, p = 0.9: " in text
    assert re.search(r"p50: A \d+\.\d\d ms, B \d+\.\d\d ms", text)


def test_an_artefact_does_not_differ_from_itself(artifact: Path, tiny: Path, tmp_path: Path) -> None:
    more = ("--users", "20", "--latency-users", "0", "--protocol", "plain")
    result = compared(typed(tiny, artifact, artifact, *more), tmp_path / "aa.json")
    assert result["of"]["ranked_users"] == 20
    assert {entry["mean"] for entry in result["agreement"].values()} == {1.0}
    for entry in result["quality"]["difference"].values():
        assert (entry["mean"], entry["interval"], entry["shown"]) == (0.0, [0.0, 0.0], "no difference")
    assert result["latency"] is None
    assert "Latency was not measured." in (tmp_path / "aa.md").read_text(encoding="utf-8")


BAD = {
    "users": (("--users", "0"), "--users must be at least 1, not 0"),
    "latency users": (("--latency-users", "-1"), "--latency-users must be at least 0, not -1"),
    "protocol": (("--protocol", "strict"), "export it with tesserank export --hold-out strict"),
}


@pytest.mark.parametrize(("flags", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_that_names_the_fix(
    flags: tuple[str, ...], message: str, artifact: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    assert main([*typed(tiny, artifact, artifact, *flags), "--out", str(out)]) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message in line
    assert not out.exists()


def test_a_missing_log_is_said(artifact: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(artifact), str(artifact), "--catalog", str(tiny / "items.jsonl")]) == 2
    assert "--events is needed" in capsys.readouterr().err
