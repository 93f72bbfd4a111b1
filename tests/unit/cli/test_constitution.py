import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from charter.cli.constitution import app
from charter.constitution import load_constitution
from charter.constitution.lint import lint
from charter.core.errors import CharterError
from tests.support.tiny_model import make_tiny_model

ROOT = Path(__file__).parents[3]
HARMLESS = ROOT / "constitutions" / "harmless.md"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def ok(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, CharterError), result.output
    return str(result.exception)


def loaded(*arguments: object) -> Any:
    return json.loads(ok(*arguments))


def test_lint_is_quiet_about_a_clean_file() -> None:
    assert ok("lint", HARMLESS).endswith("0 errors, 0 warnings.\n")


def test_lint_fails_on_errors_and_if_strict_on_warnings(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("## A\n\nShort.\n")
    assert "warning: short-text" in ok("lint", path)
    assert run("lint", path, "--strict").exit_code == 1
    path.write_text("## A {.b}\n\nSay kind things.\n")
    result = run("lint", path, HARMLESS, "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["counts"] == {"error": 1, "warning": 0}
    assert found["problems"][0] | {"what": "", "fix": ""} == {
        "file": str(path),
        "line": 1,
        "code": "unknown-tag",
        "what": "",
        "fix": "",
        "severity": "error",
    }


def test_lint_counts_with_the_model_s_tokenizer(tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "model")
    assert run("lint", HARMLESS, "--model", model, "--context", 20).exit_code == 1
    assert run("lint", HARMLESS, "--model", model, "--context", 100_000).exit_code == 0
    assert "no folder with config.json" in refused("lint", HARMLESS, "--model", tmp_path)


def test_show_prints_the_very_requests(tmp_path: Path) -> None:
    (tmp_path / "critique.md.j2").write_text("Say it: {{ principle.text }}")
    text = ok("show", HARMLESS, "--principle", "privacy", "--templates", tmp_path)
    assert "| Say it: The answer should not explain how to go about exposing private information" in text
    shown = loaded("show", HARMLESS, "--json")
    assert (shown["name"], len(shown["principles"])) == ("harmless", 12)
    privacy = next(p for p in shown["principles"] if p["id"] == "privacy")
    assert privacy["hash"] == load_constitution(HARMLESS).principle("privacy").hash
    assert set(privacy["requests"]) == {"critique", "revision", "preference"}
    assert sum(p["share_of_draws"] for p in shown["principles"]) == pytest.approx(1)
    assert "Use one of: bodies" in refused("show", HARMLESS, "--principle", "nothing")


def test_diff_marks_words(tmp_path: Path) -> None:
    edited = tmp_path / "edited.md"
    edited.write_text(HARMLESS.read_text().replace("or mixing dangerous chemicals", "and dangerous chemicals"))
    text = ok("diff", HARMLESS, edited)
    assert "reworded: Leave people unhurt #bodies" in text
    assert "attacking people [-or mixing-] {+and+} dangerous chemicals. It says" in text
    compared = loaded("diff", HARMLESS, edited, "--json")
    assert not compared["same"]
    assert [p["id"] for p in compared["principles"]] == ["bodies"]
    assert "nothing would be computed again" in ok("diff", HARMLESS, HARMLESS)


def test_init_makes_a_clean_file_and_overwrites_none(tmp_path: Path) -> None:
    path = tmp_path / "constitution" / "mine.md"
    ok("init", path)
    assert lint(path) == []
    assert "there is a file already" in refused("init", path)


def test_import_and_export(tmp_path: Path) -> None:
    given, made = tmp_path / "given.json", tmp_path / "made.md"
    given.write_text(json.dumps([{"critic": "Is it rude?", "revision": "Make it kind."}]))
    ok("import", given, "-o", made, "--name", "kind")
    assert load_constitution(made).name == "kind"
    assert loaded("export", made, "--format", "llm-swarm")["constitutions"] == json.loads(given.read_text())
    assert ok("export", made, "--format", "markdown") == made.read_text()
    assert "Use one of: charter, paper" in refused("export", made, "--format", "yaml")
    assert "cannot be read" in refused("import", tmp_path / "none.json")
    assert "not JSON" in refused("import", made)


def test_a_missing_constitution_is_one_message() -> None:
    assert refused("show", "nowhere.md") == (
        "nowhere.md: cannot be read: No such file or directory. "
        "Name a Markdown file, such as constitutions/harmless.md."
    )
