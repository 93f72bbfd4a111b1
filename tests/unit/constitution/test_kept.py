import json
from pathlib import Path

import pytest

from charter.constitution import (
    Constitution,
    keep_constitution,
    kept_constitution_path,
    load_constitution,
    load_kept_constitution,
)
from charter.constitution.kept import load_panel_constitutions
from charter.core.errors import ConstitutionError

SHIPPED = sorted((Path(__file__).parents[3] / "constitutions").glob("*.md"))
BASE = "\ufeff---\nname: base\n---\r\nBe *brief*.\n\n## Kind\n\nBe kind.\n".encode()
EXTENDING = b"---\nextends: ../shared/base.md\n---\n<!-- ours -->\n## True {.honest weight=2.5}\n\nSay\\\nwhat is.\n"


@pytest.fixture
def extending(tmp_path: Path) -> Constitution:
    for name, content in {"shared/base.md": BASE, "team/ours.md": EXTENDING}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(content)
    return load_constitution(tmp_path / "team" / "ours.md")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_constitutions_are_kept_as_they_are(tmp_path: Path, path: Path) -> None:
    constitution = load_constitution(path)
    keep_constitution(constitution, tmp_path)
    kept = load_kept_constitution(tmp_path)
    assert kept == constitution
    assert kept.hash == constitution.hash
    assert kept_constitution_path(tmp_path).read_bytes() == path.read_bytes()


def test_the_files_and_those_they_extend_are_kept_byte_for_byte(tmp_path: Path, extending: Constitution) -> None:
    run = tmp_path / "run"
    keep_constitution(extending, run)
    assert (run / "constitution" / "team" / "ours.md").read_bytes() == EXTENDING
    assert (run / "constitution" / "shared" / "base.md").read_bytes() == BASE
    assert kept_constitution_path(run) == run / "constitution" / "team" / "ours.md"


def test_kept_files_can_be_loaded_without_the_originals(tmp_path: Path, extending: Constitution) -> None:
    run = tmp_path / "run"
    keep_constitution(extending, run)
    for source in extending.sources:
        source.path.unlink()
    assert load_constitution(kept_constitution_path(run)) == extending == load_kept_constitution(run)


def test_a_kept_constitution_names_the_lines_of_its_kept_files(tmp_path: Path, extending: Constitution) -> None:
    keep_constitution(extending, tmp_path / "run")
    kind, honest = load_kept_constitution(tmp_path / "run").principles
    assert (Path(kind.file), kind.line) == (tmp_path / "run" / "constitution" / "shared" / "base.md", 6)
    assert (Path(honest.file), honest.line) == (tmp_path / "run" / "constitution" / "team" / "ours.md", 5)


def test_a_kept_constitution_can_be_kept_again(tmp_path: Path, extending: Constitution) -> None:
    keep_constitution(extending, tmp_path / "first")
    keep_constitution(load_kept_constitution(tmp_path / "first"), tmp_path / "second")
    assert load_kept_constitution(tmp_path / "second") == extending
    for name in ("constitution.json", "constitution/team/ours.md", "constitution/shared/base.md"):
        assert (tmp_path / "second" / name).read_bytes() == (tmp_path / "first" / name).read_bytes()


def test_the_values_name_what_they_are(tmp_path: Path, extending: Constitution) -> None:
    keep_constitution(extending, tmp_path / "run")
    values = json.loads((tmp_path / "run" / "constitution.json").read_text(encoding="utf-8"))
    assert (values["name"], values["hash"], values["preface"]) == ("ours", extending.hash, "Be brief.")
    assert values["files"] == ["team/ours.md", "shared/base.md"]
    kind, honest = values["principles"]
    assert (kind["id"], kind["hash"], kind["file"]) == ("kind", extending.principles[0].hash, "shared/base.md")
    assert (honest["text"], honest["weight"], honest["tags"]) == ("Say\nwhat is.", 2.5, ["honest"])


def test_a_constitution_without_files_is_kept_as_values(tmp_path: Path, extending: Constitution) -> None:
    made = Constitution("made", "1", extending.principles)
    keep_constitution(made, tmp_path / "run")
    assert load_kept_constitution(tmp_path / "run") == made
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["constitution.json"]


def test_runs_made_before_are_read_from_their_markdown(tmp_path: Path) -> None:
    (tmp_path / "panel").mkdir()
    (tmp_path / "constitution.md").write_text("## Kind\n\nBe kind.\n")
    (tmp_path / "panel" / "south.md").write_text("## Warm\n\nBe warm.\n")
    assert load_kept_constitution(tmp_path).principles[0].text == "Be kind."
    assert kept_constitution_path(tmp_path) == tmp_path / "constitution.md"
    assert load_kept_constitution(tmp_path / "panel" / "south").principles[0].text == "Be warm."


def test_a_panel_s_constitutions_are_found_by_member(tmp_path: Path, extending: Constitution) -> None:
    keep_constitution(extending, tmp_path / "panel" / "north")
    (tmp_path / "panel" / "south.md").write_text("## Warm\n\nBe warm.\n")
    found = load_panel_constitutions(tmp_path)
    assert list(found) == ["north", "south"]
    assert found["north"] == extending


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"files": [], "principles": [{}], "name": "a", "version": "1"}', '{"files": ["gone.md"]}']
)
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "constitution.json").write_text(text)
    with pytest.raises(ConstitutionError, match=r"constitution\.json'"):
        load_kept_constitution(tmp_path)


def test_a_folder_without_a_constitution_is_an_error(tmp_path: Path) -> None:
    assert not kept_constitution_path(tmp_path).is_file()
    with pytest.raises(ConstitutionError, match=r"constitution\.md"):
        load_kept_constitution(tmp_path)
