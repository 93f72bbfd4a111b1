"""Identity follows content, so that a model retrained in place is never taken for the old one."""

import os
from pathlib import Path

import pytest

from charter.config import Serving
from charter.core.errors import ModelError
from charter.core.messages import user
from charter.inference import Completion, EngineSpec, Sampling, connect, model_identity, open_engine
from charter.testing.null_server import NullServer, run_null_server


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


def test_retrained_in_place_is_another_model_at_the_same_size_and_time(tmp_path: Path) -> None:
    """As a tool leaves it that copies times too."""
    before = model_identity(folder(tmp_path / "m"))
    weights = tmp_path / "m/model.safetensors"
    stat = weights.stat()
    weights.write_bytes(b"v")
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert model_identity(tmp_path / "m") != before


async def test_a_model_retrained_in_place_gets_none_of_the_old_ones_answers(tmp_path: Path) -> None:
    weights = folder(tmp_path / "m") / "model.safetensors"
    server = NullServer(root=str(tmp_path / "m"))

    async def ask() -> tuple[Completion, int]:
        spec = EngineSpec.of(connect([server.url], Serving()), str(tmp_path / "store.sqlite"))
        async with open_engine(spec) as engine:
            return await engine.ask([user("hello")], Sampling(8)), server.counts["requests"]

    with run_null_server(server):
        old, asked = await ask()
        assert asked == 1
        weights.write_bytes(b"v")
        server.answer = lambda messages: "after retraining"
        new, asked = await ask()
        assert (new.text, new.stored, asked) == ("after retraining", False, 2)
        weights.write_bytes(b"w")
        again, asked = await ask()  # the old weights are back, and so are their answers
        assert (again.text, again.stored, asked) == (old.text, True, 2)


def test_servers_elsewhere_are_told_apart_by_the_revision_that_the_config_names() -> None:
    with run_null_server(NullServer(root="/models/on-another-machine")) as server:
        named = [connect([server.url], Serving(model_revision=name)).identity for name in (None, "may", "june")]
    assert named == [f"served:null@/models/on-another-machine{end}" for end in ("", "#may", "#june")]


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
    with pytest.raises(ModelError, match="contains no model"):
        model_identity(tmp_path)
