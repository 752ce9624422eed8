"""``tesserank evaluate`` as it is typed, on a tiny catalogue and real models."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tesserank.cli import main
from tesserank_evaluation.baselines import BASELINES
from tests.core.tensorboard import read_run
from tests.export.tiny import write_events

SMALL = ("--dim", "16", "--collaborative-dim", "8", "--threads", "1")


def typed(tiny: Path, *more: str) -> list[str]:
    files = ["--catalog", str(tiny / "items.jsonl"), "--events", str(tiny / "events.csv")]
    return ["evaluate", *files, "--model", str(tiny / "bert"), *SMALL, *more]


@pytest.fixture(scope="module")
def evaluated(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A whole evaluation, its own exports among it: where it ran, and its result."""
    root = tmp_path_factory.mktemp("evaluated")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert main(typed(tiny, "--out", "result.json")) == 0
    return root, json.loads((root / "result.json").read_text(encoding="utf-8"))


def test_every_recommender_is_ranked_under_both_protocols(evaluated: tuple[Path, dict[str, Any]]) -> None:
    _, result = evaluated
    assert set(result["protocols"]) == {"plain", "strict"}
    for protocol, found in result["protocols"].items():
        assert set(found["recommenders"]) == {"tesserank", *BASELINES}
        assert found["users"] == found["eligible"] > 50
        for entry in found["recommenders"].values():
            metrics = entry["metrics"]
            assert set(metrics) == {f"{name}@{k}" for name in ("recall", "ndcg", "mrr") for k in (5, 10, 20, 50)}
            assert 0 < metrics["mrr@10"]["mean"] <= metrics["ndcg@10"]["mean"] <= metrics["recall@10"]["mean"] <= 1
            assert metrics["recall@50"]["mean"] == 1.0  # of 40 items
            assert 0 < entry["coverage"]["coverage@10"] <= 1
        assert found["recommenders"]["tesserank"]["settings"]["fitted_on"] == protocol
        assert found["segments"].startswith('name = "')
        assert found["fit"] is None
        against = found["against_best_baseline"]
        means = {name: entry["metrics"]["ndcg@10"]["mean"] for name, entry in found["recommenders"].items()}
        assert means[against["baseline"]] == max(means[name] for name in BASELINES)
        less = against["difference"]["tesserank"]["ndcg@10"]
        assert less["mean"] == pytest.approx(means["tesserank"] - means[against["baseline"]], abs=2e-5)
        assert less["se"] > 0


def test_what_belongs_together_is_found(evaluated: tuple[Path, dict[str, Any]]) -> None:
    """Neighbouring items are used together: whoever looks at the log beats the list for everybody."""
    ranked = evaluated[1]["protocols"]["plain"]["recommenders"]
    for name in ("tesserank", "itemknn", "ease", "als"):
        assert ranked[name]["metrics"]["ndcg@10"]["mean"] > 2 * ranked["popularity"]["metrics"]["ndcg@10"]["mean"]


def test_the_result_says_what_it_was_measured_on(evaluated: tuple[Path, dict[str, Any]]) -> None:
    _, result = evaluated
    [conditions] = result["runs"]
    assert {"cpu", "commit", "versions", "seed", "cores"} <= set(conditions)
    assert result["dataset"]["items"] == 40
    assert result["dataset"]["events"] == 360
    assert str(Path.home()) not in json.dumps(result)


def test_the_table_has_a_row_for_every_recommender_best_first(evaluated: tuple[Path, dict[str, Any]]) -> None:
    root, result = evaluated
    text = (root / "result.md").read_text(encoding="utf-8")
    plain = text.split("### plain")[1].split("Every metric of")[0]
    found = re.findall(r"^\| ([\w-]+) \| .*? \| (\d\.\d{4}) ", plain, flags=re.M)
    ndcg = {
        name: entry["metrics"]["ndcg@10"]["mean"]
        for name, entry in result["protocols"]["plain"]["recommenders"].items()
    }
    assert [name for name, _ in found] == sorted(ndcg, key=lambda name: -ndcg[name])
    assert [float(value) for _, value in found] == [pytest.approx(ndcg[name], abs=5e-5) for name, _ in found]


def test_a_second_run_takes_what_the_first_found_and_adds_what_is_missing(
    evaluated: tuple[Path, dict[str, Any]],
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    root, first = evaluated
    monkeypatch.chdir(root)
    partial = json.loads((root / "result.json").read_text(encoding="utf-8"))
    del partial["protocols"]["strict"]["recommenders"]["popularity"]
    (root / "again.json").write_text(json.dumps(partial), encoding="utf-8")
    shutil.copy(root / "result.ranks.npz", root / "again.ranks.npz")
    assert main(typed(tiny, "--out", "again.json", "--resume")) == 0
    said = capfd.readouterr().err
    assert "kept from before" in said
    assert re.findall(r"(\w+), (\S+): NDCG@10", said) == [("strict", "popularity")]
    again = json.loads((root / "again.json").read_text(encoding="utf-8"))
    assert len(again["runs"]) == 2
    for protocol in ("plain", "strict"):
        for name, entry in again["protocols"][protocol]["recommenders"].items():
            assert entry["metrics"] == first["protocols"][protocol]["recommenders"][name]["metrics"]
        assert (
            again["protocols"][protocol]["against_best_baseline"]
            == (first["protocols"][protocol]["against_best_baseline"])
        )

    assert main(typed(tiny, "--out", "again.json", "--resume", "--users", "20")) == 2
    assert "again.json is of another evaluation" in capfd.readouterr().err


def test_a_sample_of_users_and_of_recommenders(
    artifact: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    more = ("--artifact", str(artifact), "--users", "20", "--only", "tesserank,popularity", "--protocol", "plain")
    assert main(typed(tiny, *more, "--out", "few.json")) == 0
    found = json.loads((tmp_path / "few.json").read_text(encoding="utf-8"))["protocols"]
    assert list(found) == ["plain"]
    assert found["plain"]["users"] == 20 < found["plain"]["eligible"]
    assert set(found["plain"]["recommenders"]) == {"tesserank", "popularity"}
    assert found["plain"]["recommenders"]["tesserank"]["settings"]["fitted_on"] == "plain"


def test_sasrec_is_asked_for_and_takes_its_training_up_again(
    artifact: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ("--only", "tesserank,popularity", "--with", "sasrec", "--sasrec-minutes", "1", "--trained", "trained")
    flags = (*asked, "--artifact", str(artifact), "--protocol", "plain")
    assert main(typed(tiny, *flags, "--out", "first.json")) == 0
    assert "sasrec, search: epoch 1, loss" in capfd.readouterr().err
    assert main(typed(tiny, *flags, "--out", "second.json")) == 0
    assert "sasrec, search: epoch" not in capfd.readouterr().err
    first, second = (
        json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))["protocols"]["plain"]
        for name in ("first", "second")
    )
    ranked = first["recommenders"]
    assert set(ranked) == {"tesserank", "popularity", "sasrec"}
    assert ranked["sasrec"]["settings"] == second["recommenders"]["sasrec"]["settings"]
    assert ranked["sasrec"]["settings"]["budget_s"] == 60.0
    assert first["against_best_baseline"]["baseline"] == "sasrec"
    assert ranked["sasrec"]["metrics"] == second["recommenders"]["sasrec"]["metrics"]


def test_sasrec_of_another_number_of_minutes_is_ranked_anew(
    artifact: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ("--only", "popularity", "--with", "sasrec", "--trained", "trained", "--out", "result.json")

    def resumed(minutes: int) -> tuple[dict[str, Any], str]:
        flags = (*asked, "--artifact", str(artifact), "--protocol", "plain", "--resume")
        assert main(typed(tiny, *flags, "--sasrec-minutes", str(minutes))) == 0
        result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
        return result["protocols"]["plain"]["recommenders"], capfd.readouterr().err

    assert resumed(1)[0]["sasrec"]["settings"]["budget_s"] == 60.0
    assert re.findall(r"plain, (\S+): kept from before", resumed(1)[1]) == ["popularity", "sasrec"]
    found, said = resumed(2)
    assert re.findall(r"plain, (\S+): kept from before", said) == ["popularity"]
    assert "plain, sasrec: ranked anew, as its figures are of minutes 1, now it is of minutes 2\n" in said
    assert found["sasrec"]["settings"]["budget_s"] == 120.0
    assert "plain, sasrec: kept from before" in resumed(2)[1]

    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    for entry in result["protocols"]["plain"]["recommenders"].values():
        del entry["identity"]  # as older versions wrote it
    (tmp_path / "result.json").write_text(json.dumps(result), encoding="utf-8")
    _, said = resumed(2)
    assert "kept from before" not in said
    assert "plain, popularity: ranked anew, as its figures are of what they do not say, now it is of newest [" in said
    assert "plain, sasrec: ranked anew, as its figures are of what they do not say, now it is of minutes 2\n" in said


def test_what_was_fitted_on_more_than_strict_allows_is_refused(
    artifact: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(typed(tiny, "--artifact", str(artifact), "--protocol", "strict")) == 2
    assert re.search(
        r"by another protocol \(plain \w{12}\) .* \(strict \w{12}\).*--hold-out strict", capsys.readouterr().err
    )


BAD = {
    "users": (("--users", "0"), "--users must be at least 1, not 0"),
    "threads": (("--threads", "0"), "--threads must be at least 1, not 0"),
    "memory": (("--memory-mib", "-1"), "--memory-mib must be at least 0, not -1"),
    "only": (("--only", "tesserank,bert4rec"), "--only or --with bert4rec: there are tesserank, popularity"),
    "with": (("--with", "bert4rec"), "pooled-max, sasrec"),
    "minutes": (("--sasrec-minutes", "0"), "--sasrec-minutes must be at least 1, not 0"),
    "artefact": (("--artifact", "/nowhere"), "/nowhere/manifest.json cannot be read"),
    "log": (("--item-field", "asin"), "--item-field"),
}


@pytest.mark.parametrize(("flags", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_that_names_the_fix(
    flags: tuple[str, ...],
    message: str,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(typed(tiny, *flags)) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_a_missing_log_is_said(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--catalog", str(tiny / "items.jsonl")]) == 2
    assert "--events is needed" in capsys.readouterr().err


def test_an_artefact_of_another_log_is_refused_with_the_command_that_exports_one(
    artifact: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    other = write_events(tmp_path / "events.csv", users=30)
    assert main(typed(tiny, "--artifact", str(artifact), "--events", str(other))) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "held out the last items of another log" in line
    assert "export one with tesserank export --catalog" in line
    assert "--hold-out plain" in line


def test_an_export_that_fails_is_said_with_its_command(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(typed(tiny, "--dim", "999")) == 2
    said = capfd.readouterr().err
    assert "--dim 999 is above what can be fitted" in said
    assert "the export failed, as it says above: tesserank export --catalog" in said


def test_no_server_is_said(
    artifact: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = (
        "--artifact",
        str(artifact),
        "--only",
        "tesserank-served",
        "--through-server",
        "127.0.0.1:9",
        "--timeout",
        "1",
        "--protocol",
        "plain",
    )
    assert main(typed(tiny, *flags)) == 2
    assert "error: the server does not answer" in capsys.readouterr().err


def test_what_is_evaluated_may_be_fitted_for_the_protocol(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    log = write_events(tmp_path / "events.csv", users=200)
    more = (
        "--events",
        str(log),
        "--fit",
        "--protocol",
        "plain",
        "--only",
        "tesserank,popularity",
        "--out",
        "result.json",
        "--track",
        "tensorboard:runs",
    )
    assert main(typed(tiny, *more)) == 0
    printed = capfd.readouterr().out
    assert re.search(r"next items of \d+ users, plain protocol", printed), "the fit's own table"
    assert printed.count("fitted against as configured") == 2, "in the fit's table, and in the result's"
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    found = result["protocols"]["plain"]
    assert found["fit"]["steps"][-1]["step"] == "fitted against as configured"
    assert "[history" in found["segments"]
    ranked = found["recommenders"]
    assert ranked["tesserank"]["settings"]["fitted_on"] == "plain"
    assert ranked["tesserank"]["metrics"]["ndcg@10"]["mean"] > ranked["popularity"]["metrics"]["ndcg@10"]["mean"]
    [run] = (tmp_path / "runs").iterdir()
    tracked = read_run(run)
    for step, name in enumerate(("tesserank", "popularity")):
        for metric, value in ranked[name]["metrics"].items():
            found = tracked.scalars[f"plain/{name}/{metric.replace('@', '_at_')}"]
            assert found == {step: pytest.approx(value["mean"], abs=1e-6)}
    assert f"| plain.artifact | {ranked['tesserank']['settings']['artifact']} |" in tracked.texts["params"]
    assert tracked.texts["plain/metrics"].splitlines()[2].startswith("| tesserank | ")
    assert "fitted against as configured" in tracked.texts["plain/fit"]


def test_a_tracker_that_is_not_installed_is_said_before_anything_is_exported(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert main(typed(tiny, "--track", "wandb:beauty")) == 2
    said = capfd.readouterr().err
    assert said == ("error: --track wandb needs wandb, which is not installed: pip install 'tesserank[wandb]'\n")
    assert list(tmp_path.iterdir()) == []
