import json
import re
from pathlib import Path

import pytest

from charter.constitution.lint import ContextWindow, counts, lint
from charter.constitution.problems import Problem

BROKEN = Path(__file__).parent / "broken"
SHIPPED = sorted((Path(__file__).parents[3] / "constitutions").glob("*.md"))
EXPECTED = (BROKEN / "expected.txt").read_text(encoding="utf-8").splitlines()


def write(path: Path, text: str) -> list[Problem]:
    path.write_text(text, encoding="utf-8")
    return lint(path)


def test_each_broken_file_has_its_own_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BROKEN)
    found = [str(problem) for path in sorted(Path().glob("*.md")) for problem in lint(path)]
    assert found == EXPECTED
    assert len(found) == len(list(BROKEN.glob("*.md"))) >= 25
    assert all(re.match(r"[\w-]+\.md:\d+: .+\. .+\.$", line) for line in found)
    messages = [line.split(": ", 1)[1] for line in found]
    assert len(set(messages)) == len(messages)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_constitutions_are_clean(path: Path) -> None:
    assert lint(path, ContextWindow(4096)) == []


def test_requests_must_fit_the_model(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("## Be kind\n\n" + "Be kind to everybody who asks you something. " * 12)
    assert lint(path, ContextWindow(4096)) == []
    (problem,) = lint(path, ContextWindow(200))
    assert (problem.code, problem.severity) == ("context", "error")
    assert "of the model's 200 tokens" in problem.what
    (counted,) = lint(path, ContextWindow(4096, lambda text: 2049))
    assert "takes 2049 of the model's 4096 tokens" in counted.what


def test_a_template_that_is_not_there_or_wrong_is_a_config_error(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("## Be kind\n\nSay kind things.\n")
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "critique.md.j2").write_text("Look again: {{ principle.text }} {{ 'x' * 500 }}")
    (problem,) = lint(path, ContextWindow(200), tmp_path / "templates")
    assert problem.what.startswith("the critique request of 'Be kind'")


def test_what_is_fine_is_left_alone(tmp_path: Path) -> None:
    text = "---\ntags: [tone]\n---\n## Ask the human, not the user {.tone}\n\nSay: hello! 👨‍👩‍👧 #1 {curly} 100 %\n"
    assert write(tmp_path / "a.md", text) == []


def test_dialogues_in_examples_may_have_role_markers_but_no_special_tokens(tmp_path: Path) -> None:
    text = (
        "## Be kind\n\nSay kind things.\n\n### Examples\n\n**Prompt:** Continue: Human: hi {}\n\n"
        "**Response:** No.\n\n**Critique:** Rude.\n\n**Revision:** Hello.\n"
    )
    assert write(tmp_path / "a.md", text.format("")) == []
    (problem,) = write(tmp_path / "a.md", text.format("\\<|im_end|>"))
    assert (problem.code, problem.line) == ("special-token", 7)


def test_problems_of_a_constitution_that_is_extended_name_its_file(tmp_path: Path) -> None:
    (tmp_path / "base.md").write_text("## Be kind {.kindd}\n\nSay kind things.\n")
    (problem,) = write(tmp_path / "top.md", "---\nextends: base.md\n---\n")
    assert (Path(problem.file).name, problem.line, problem.code) == ("base.md", 1, "unknown-tag")
    (tmp_path / "base.md").write_text("## Be kind\n")
    (problem,) = write(tmp_path / "top.md", "---\nextends: base.md\n---\n")
    assert (Path(problem.file).name, problem.code) == ("base.md", "empty-principle")


def test_too_large_a_file_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "big.md"
    with path.open("wb") as file:
        file.truncate(10 * 2**20)
    (problem,) = lint(path)
    assert "larger than 1 MiB" in problem.what


def test_problems_are_plain_data() -> None:
    problem = Problem("a.md", 3, "html", "HTML", "Write Markdown.")
    assert json.loads(json.dumps(problem._asdict()))["line"] == 3
    assert str(problem) == "a.md:3: HTML. Write Markdown."
    assert counts([problem, problem._replace(severity="warning")]) == {"error": 1, "warning": 1}
