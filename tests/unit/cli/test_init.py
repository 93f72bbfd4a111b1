"""``charter init`` leaves a folder that the other commands accept as it is."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from charter.cli.app import app
from charter.config import load_config
from charter.constitution import load_constitution
from charter.core.errors import ConfigError
from charter.core.installation import find_constitution

DEMO = Path(__file__).parents[3] / "configs" / "demo.yaml"


def test_the_starter_is_the_demo_with_files_to_edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["init", "first"])
    assert done.exit_code == 0 and "cd first && charter align charter.yaml" in done.output
    monkeypatch.chdir(tmp_path / "first")
    config = load_config(Path("charter.yaml"))
    as_demo = {"name": "demo", "constitution": load_config(DEMO).constitution}
    assert config.model_copy(update=as_demo) == load_config(DEMO)
    assert len(load_constitution(config.constitution).principles) == 12
    prompts = [json.loads(line)["prompt"] for line in Path("prompts.jsonl").read_text().splitlines()]
    assert len(set(prompts)) == 10


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    done = CliRunner().invoke(app, ["init", str(tmp_path)])
    assert isinstance(done.exception, ConfigError) and "not empty" in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_shipped_constitution_is_found_by_its_name_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for given in (Path("harmless.md"), Path("constitutions/harmless.md")):
        assert find_constitution(given).is_file()
    for given in (Path("other/harmless.md"), Path("no-such.md")):
        assert find_constitution(given) == given
    Path("harmless.md").write_text("mine")
    assert find_constitution(Path("harmless.md")) == Path("harmless.md")
