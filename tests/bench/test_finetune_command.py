"""``python -m tesserank_bench.finetune``, then ``tesserank evaluate --with cross-encoder``, as they are typed."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tesserank.artifact.manifest import load_manifest
from tesserank.artifact.store import current_artifact
from tesserank.cli import main as tesserank
from tesserank.encoding.engines import EngineSettings, open_pair_engine
from tesserank_bench.finetune.__main__ import main
from tesserank_bench.finetune.network import CrossEncoder
from tesserank_evaluation.reranking.finetuned import PRECISION
from tesserank_evaluation.split import make_cases
from tesserank_export.catalog import read_catalog
from tesserank_export.checkpoint import resolve_checkpoint
from tesserank_export.events import read_events
from tesserank_export.heldout import PLAIN
from tests.export.tiny import save_bert, write_inputs

SMALL = ("--dim", "16", "--collaborative-dim", "8", "--threads", "1")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a cross-encoder was fine-tuned for plain, for a second or so."""
    root = write_inputs(tmp_path_factory.mktemp("finetune"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert finetune("--minutes", "0.02") == 0
    return root


@pytest.fixture
def own(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to change."""
    own = Path(shutil.copytree(root, tmp_path / "own", symlinks=True))
    monkeypatch.chdir(own)
    return own


def data(*more: str) -> list[str]:
    files = ["--catalog", "items.jsonl", "--events", "events.csv", "--model", "bert", "--trained", "trained"]
    return [*files, *SMALL, *more]


def finetune(*more: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["finetune", *data(*more)])
        return main()


def evaluate(*more: str) -> int:
    return tesserank(
        ["evaluate", *data("--protocol", "plain", "--only", "tesserank,itemknn", "--out", "result.json", *more)]
    )


def folder(root: Path) -> Path:
    [found] = [path for path in (root / "trained").iterdir() if path.is_dir()]
    return found


def test_the_exported_cross_encoder_is_the_trained_one(root: Path) -> None:
    [state] = (root / "trained").glob("*.pt")
    network = CrossEncoder(resolve_checkpoint(str(root / "bert")), 0)
    before = network.pair_head.detach().clone()
    network.load_state_dict(torch.load(state, weights_only=True)["network"])
    assert not torch.equal(before, network.pair_head)
    network.eval()
    ids = np.random.default_rng(0).integers(5, 60, (4, 12))
    mask = np.ones_like(ids)
    mask[1:, 8:] = 0
    served = open_pair_engine(folder(root), PRECISION, EngineSettings(threads=1))(ids, mask)
    with torch.inference_mode():
        np.testing.assert_allclose(served, network(torch.from_numpy(ids), torch.from_numpy(mask)).numpy(), atol=1e-4)


def test_what_is_known_of_the_training_is_written(root: Path) -> None:
    meta = json.loads((folder(root) / "finetuned.json").read_text(encoding="utf-8"))
    assert meta["protocol"] == "plain"
    assert meta["seconds"] >= 1.2
    assert meta["examples"] == 8 * meta["steps"] > 0
    assert meta["loss_of_chance"] == pytest.approx(np.log(6), abs=1e-4)
    assert 0 < meta["loss"]["last"] < 3


def test_what_is_learned_from_has_no_target(root: Path) -> None:
    """Of the log that it learns from, and of the one that late interaction was fitted on meanwhile."""
    catalog = read_catalog(root / "items.jsonl")
    events = read_events(root / "events.csv", catalog)
    [path] = (root / "trained").glob("*-earlier.csv.gz")
    earlier = read_events(path, catalog)
    met = {(earlier.users[user], item) for user, item in zip(earlier.user, earlier.item.tolist(), strict=True)}
    cases = make_cases(events, None, 0, PLAIN)
    for user, target, history in zip(cases.held.users, cases.targets.tolist(), cases.histories, strict=True):
        assert (events.users[user], target) not in met
        assert (events.users[user], int(history.items[-1])) in met
    held = load_manifest(current_artifact(root / "artifacts" / "evaluation-earlier-plain"), []).provenance["events"]
    assert held["held_out"]["train_sha256"] == make_cases(earlier, None, 0, PLAIN).held.digest


def test_as_many_minutes_again_train_no_further(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    before = json.loads((folder(root) / "finetuned.json").read_text(encoding="utf-8"))
    assert finetune("--minutes", "0.02") == 0
    assert re.search(rf"goes on after {before['steps']} steps", capfd.readouterr().err)
    after = json.loads((folder(root) / "finetuned.json").read_text(encoding="utf-8"))
    assert {**before, "machine": None} == {**after, "machine": None}


def test_it_takes_part_in_an_evaluation(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    assert evaluate("--with", "cross-encoder", "--users", "20") == 0
    result: dict[str, Any] = json.loads(Path("result.json").read_text(encoding="utf-8"))
    assert result["of"]["users"] == 20
    found = result["protocols"]["plain"]
    ranked = found["recommenders"]
    assert set(ranked) == {"tesserank", "itemknn", "cross-encoder"}
    settings = ranked["cross-encoder"]["settings"]
    assert settings["targets_among_candidates"] == 1.0  # of 40 items
    assert settings["retrieved"]["ndcg@10"] == ranked["tesserank"]["metrics"]["ndcg@10"]
    less = ranked["cross-encoder"]["metrics"]["ndcg@10"]["mean"] - ranked["tesserank"]["metrics"]["ndcg@10"]["mean"]
    assert settings["less_retrieved"]["ndcg@10"]["mean"] == pytest.approx(less, abs=2e-5)
    assert settings["fine_tuned"]["steps"] > 0
    assert settings["rerank_ms_a_user"]["mean"] > 0
    assert set(found["against_best_baseline"]["difference"]) == {"tesserank", "cross-encoder"}


BAD = {
    "nobody said how many": (("--with", "cross-encoder"), "say for how many, as in --users 300"),
    "another protocol": (
        ("--with", "cross-encoder", "--users", "5", "--protocol", "strict"),
        "has no cross-encoder fine-tuned for strict: fine-tune one with python -m tesserank_bench.finetune --catalog "
        "items.jsonl",
    ),
}


@pytest.mark.parametrize(("flags", "message"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_asked_is_said_with_its_remedy(
    flags: tuple[str, ...],
    message: str,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(root)
    assert evaluate(*flags) == 2
    assert message in error(capfd)


def exported(root: Path) -> tuple[str, str]:
    """Flags that spare an export."""
    return "--artifact", str(current_artifact(root / "artifacts" / "evaluation-plain"))


def error(capfd: pytest.CaptureFixture[str]) -> str:
    [line] = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def test_one_of_another_log_is_refused(own: Path, capfd: pytest.CaptureFixture[str]) -> None:
    meta = folder(own) / "finetuned.json"
    known = json.loads(meta.read_text(encoding="utf-8"))
    meta.write_text(json.dumps(known | {"train_sha256": "0" * 64}), encoding="utf-8")
    assert evaluate("--with", "cross-encoder", "--users", "5") == 2
    assert "was fine-tuned on another log or catalogue (train_sha256 000000000000, not" in error(capfd)


def test_one_of_another_checkpoint_is_refused_until_one_of_this_is_tuned(
    own: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_bert(own / "other", num_hidden_layers=1)
    assert finetune("--model", "other", "--minutes", "0.01") == 0
    assert "goes on after" not in capfd.readouterr().err, "with steps of another checkpoint"
    assert evaluate("--with", "cross-encoder", "--users", "5") == 2
    digests = [resolve_checkpoint(str(own / name)).digest[:12] for name in ("other", "bert")]
    said = error(capfd)
    assert "was fine-tuned from another checkpoint (other {}, not bert {}): ".format(*digests) in said
    assert re.search(r"fine-tune one with python -m tesserank_bench\.finetune .*--model bert ", said)

    assert finetune("--minutes", "0.02") == 0
    assert "goes on after" in capfd.readouterr().err
    # An artefact that is named brings its checkpoint, whatever --model would have exported.
    assert evaluate("--with", "cross-encoder", "--users", "5", *exported(own), "--model", "other") == 0


def test_one_that_does_not_say_its_checkpoint_is_refused(own: Path, capfd: pytest.CaptureFixture[str]) -> None:
    meta = folder(own) / "finetuned.json"
    known = json.loads(meta.read_text(encoding="utf-8"))
    digest = known.pop("model_digest")
    meta.write_text(json.dumps(known), encoding="utf-8")
    assert evaluate("--with", "cross-encoder", "--users", "5") == 2
    said = error(capfd)
    assert f"finetuned.json has no model_digest, which must be {digest[:12]} (of bert): fine-tune one with " in said
    assert finetune("--minutes", "0.02", *exported(own)) == 0
    assert json.loads(meta.read_text(encoding="utf-8"))["model_digest"] == digest


def test_an_artefact_of_another_checkpoint_is_not_learned_beside(own: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save_bert(own / "other", num_hidden_layers=1)
    assert finetune(*exported(own), "--model", "other", "--minutes", "0.02") == 2
    assert re.search(r"was exported from bert \w{12}, not from other \w{12}: name its own .* --model", error(capfd))


def test_what_is_missing_is_said_before_anything_is_exported_or_ranked(
    own: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("--with", "cross-encoder", "--users", "5", "--protocol", "both") == 2
    said = capfd.readouterr().err
    assert "has no cross-encoder fine-tuned for strict" in said
    assert "plain, tesserank" not in said
    assert not Path("artifacts/evaluation-strict").exists()


def test_figures_of_one_that_was_trained_on_are_not_kept(own: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def resumed() -> tuple[dict[str, Any], str]:
        flags = ("--with", "cross-encoder", "--users", "20", "--out", "figures.json", "--resume")
        assert evaluate(*flags, *exported(own)) == 0
        result = json.loads(Path("figures.json").read_text(encoding="utf-8"))
        return result["protocols"]["plain"]["recommenders"]["cross-encoder"], capfd.readouterr().err

    first, _ = resumed()
    assert "plain, cross-encoder: kept from before" in resumed()[1]
    assert finetune("--minutes", "0.02", *exported(own)) == 0
    assert "plain, cross-encoder: kept from before" in resumed()[1], "exported again, but the same"
    more = first["settings"]["fine_tuned"]["seconds"] + 1
    assert finetune("--minutes", str(more / 60), *exported(own)) == 0
    second, said = resumed()
    assert re.findall(r"plain, (\S+): kept from before", said) == ["tesserank", "itemknn"]
    was, now = (", ".join(f"{key} {value}" for key, value in entry["identity"].items()) for entry in (first, second))
    assert f"plain, cross-encoder: ranked anew, as its figures are of {was}, now it is of {now}\n" in said
    assert second["settings"]["fine_tuned"]["steps"] == second["identity"]["steps"] > first["identity"]["steps"]
    assert "plain, cross-encoder: kept from before" in resumed()[1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--minutes", "0"), "--minutes must be above 0, not 0"),
        (("--negatives", "0"), "--negatives must be at least 1, not 0"),
        (("--pair-tokens", "2"), "--pair-tokens must be at least 8, not 2"),
    ],
)
def test_bad_options_of_training(
    flags: tuple[str, ...],
    message: str,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(root)
    assert finetune(*flags) == 2
    assert f"error: {message}" in capfd.readouterr().err
