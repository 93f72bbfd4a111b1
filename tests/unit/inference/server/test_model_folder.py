"""Faults of model folders are found before a server reads them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from charter.core.errors import ModelError
from charter.inference.server.launch import check_model
from tests.support.model_folders import safetensors, write_model_folder

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 268000000\n"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model_folder(tmp_path / "model")


def shards(folder: Path, *, index: bool) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model-00001-of-00002.safetensors").write_bytes(safetensors())
    if index:
        names = {str(n): f"model-0000{n}-of-00002.safetensors" for n in (1, 2)}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def adapter(folder: Path) -> None:
    for file in ("config.json", "model.safetensors"):
        (folder / file).unlink()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/base"}))
    (folder / "adapter_model.safetensors").write_bytes(safetensors())


def adapter_with_config(folder: Path) -> None:
    config = (folder / "config.json").read_text()
    adapter(folder)
    (folder / "config.json").write_text(config)


def gguf(folder: Path, *, config: bool) -> None:
    (folder / "model.safetensors").rename(folder / "weights.GGUF")
    if not config:
        (folder / "config.json").unlink()


def unfinished(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / ".cache/huggingface/download").mkdir(parents=True)
    (folder / ".cache/huggingface/download/x.incomplete").touch()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "model.safetensors").write_text(POINTER), "model.safetensors is a Git LFS pointer"),
        (lambda f: (f / "tokenizer.json").write_text(POINTER), "tokenizer.json is a Git LFS pointer"),
        (lambda f: (f / "config.json").write_text(POINTER), "config.json is a Git LFS pointer"),
        (lambda f: shards(f, index=True), "1 of 2 .* missing, such as model-00002-of-00002"),
        (lambda f: shards(f, index=False), "1 of 2 .* missing, such as model-00002-of-00002"),
        (lambda f: (f / "model.safetensors").write_bytes(safetensors(bytes(100))[:-1]), "cut off"),
        (lambda f: (f / "model.safetensors").write_bytes(safetensors()[:20]), "cut off"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "is empty"),
        (lambda f: (f / "model.safetensors").unlink(), "no weights"),
        (unfinished, "did not finish"),
        (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer"),
        (lambda f: (f / "chat_template.jinja").unlink(), "no chat template"),
        (adapter, "LoRA adapter of 'org/base'"),
        (adapter_with_config, "LoRA adapter of 'org/base'"),
        (lambda f: gguf(f, config=False), "GGUF"),
        (lambda f: gguf(f, config=True), "GGUF"),
        (lambda f: (f / "config.json").write_text("{}"), "architectures"),
        (lambda f: (f / "config.json").write_text("{"), "not JSON"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(model: Path, damage: Callable[[Path], object], said: str) -> None:
    assert check_model(model) == model.resolve()
    damage(model)
    with pytest.raises(ModelError, match=said):
        check_model(model)


def test_a_gguf_file(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="GGUF"):
        check_model(tmp_path / "a.gguf")


def test_what_vllm_gets_by_an_argument_need_not_be_in_the_folder(model: Path) -> None:
    (model / "chat_template.jinja").unlink()
    check_model(model, ["--chat-template=other.jinja"])
    (model / "tokenizer.json").unlink()
    check_model(model, ["--tokenizer", "org/base"])


def test_a_template_within_the_tokenizers_settings(model: Path) -> None:
    (model / "chat_template.jinja").unlink()
    (model / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    check_model(model)


def test_an_adapter_beside_merged_weights(model: Path) -> None:
    (model / "adapter_config.json").write_text("{}")
    check_model(model)
