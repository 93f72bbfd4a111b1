"""Identity follows content, so that a model retrained in place is never taken for the old one."""

from pathlib import Path

import pytest

from charter.errors import ModelError
from charter.serving import model_identity


def folder(path: Path, weights: bytes = b"w") -> Path:
    path.mkdir()
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(weights)
    return path


def test_same_content_elsewhere_is_the_same_model(tmp_path: Path) -> None:
    assert model_identity(folder(tmp_path / "a")) == model_identity(str(folder(tmp_path / "b")))
    assert model_identity(tmp_path / "a").startswith("sha256:")


def test_retrained_in_place_is_another_model(tmp_path: Path) -> None:
    before = model_identity(folder(tmp_path / "m"))
    (tmp_path / "m/model.safetensors").write_bytes(b"v")
    assert model_identity(tmp_path / "m") != before


@pytest.mark.parametrize("name", ["config.json", "chat_template.jinja", "tokenizer.json", "merges.txt"])
def test_everything_that_shapes_an_answer_counts(tmp_path: Path, name: str) -> None:
    before = model_identity(folder(tmp_path / "m"))
    (tmp_path / "m" / name).write_text("changed")
    assert model_identity(tmp_path / "m") != before


@pytest.mark.parametrize("name", ["README.md", "trainer_state.json", "optimizer.log"])
def test_what_does_not_shape_an_answer_does_not(tmp_path: Path, name: str) -> None:
    before = model_identity(folder(tmp_path / "m"))
    (tmp_path / "m" / name).write_text("changed")
    assert model_identity(tmp_path / "m") == before


def test_a_hub_id_is_named_by_its_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert model_identity("org/name") == "hub:org/name@unresolved"
    refs = tmp_path / "models--org--name/refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("0123abc")
    assert model_identity("org/name") == "hub:org/name@0123abc"


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no model"):
        model_identity(tmp_path)
