"""What is told of a constitution, and that nobody is left untold without a word."""

import os
import subprocess
import sys
from pathlib import Path

from flows.notify import BROKEN, CHANGED, look
from flows.watch import _differs, _survey

GOOD = "---\nname: calm\nversion: 2\n---\n## Stay calm\n\nA good answer keeps a calm tone.\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_constitution_is_told_of_with_its_path_and_hash(tmp_path: Path) -> None:
    news = look(write(tmp_path / "my law.md", GOOD))
    event = news.event()
    assert event.event == CHANGED
    assert event.resource.id == "charter.constitution.my-law"
    assert event.payload["path"] == str(tmp_path / "my law.md")
    assert event.payload["hash"] == news.hash and len(news.hash) == 16
    assert event.payload["run"] == f"my-law-{news.hash[:8]}"


def test_a_path_in_the_project_is_told_as_seen_from_there() -> None:
    assert look(Path("constitutions/harmless.md").resolve()).event().payload["path"] == "constitutions/harmless.md"


def test_a_broken_one_is_told_of_with_its_mistakes(tmp_path: Path) -> None:
    event = look(write(tmp_path / "law.md", "nothing\n")).event()
    assert event.event == BROKEN
    assert event.payload["mistakes"][0].startswith(f"{tmp_path / 'law.md'}")
    assert "run" not in event.payload


def test_comments_and_versions_are_no_news_and_words_are(tmp_path: Path) -> None:
    before = look(write(tmp_path / "law.md", GOOD))
    assert not _differs(before, look(write(tmp_path / "law.md", GOOD.replace("2", "3") + "<!-- soon more -->\n")))
    assert _differs(before, look(write(tmp_path / "law.md", GOOD.replace("calm tone", "kind tone"))))


def test_a_constitution_changes_with_the_one_that_it_extends(tmp_path: Path) -> None:
    write(tmp_path / "base.md", GOOD)
    write(tmp_path / "own.md", "---\nname: own\nextends: base.md\n---\n## Be brief\n\nA good answer is short.\n")
    before = _survey(tmp_path, {})
    write(tmp_path / "base.md", GOOD.replace("calm tone", "kind tone"))
    after = _survey(tmp_path, before)
    assert [path.name for path in after if _differs(before[path], after[path])] == ["base.md", "own.md"]


def test_a_file_that_is_broken_and_mended_is_told_of_once(tmp_path: Path) -> None:
    path = write(tmp_path / "law.md", GOOD)
    good = _survey(tmp_path, {})
    write(path, "nothing\n")
    broken = _survey(tmp_path, good)
    assert _differs(good[path], broken[path])
    write(path, GOOD)
    assert not _differs(broken[path], _survey(tmp_path, broken)[path])  # nothing to run: it says what it said
    write(path, GOOD.replace("calm tone", "kind tone"))
    assert _differs(broken[path], _survey(tmp_path, broken)[path])


def test_an_unreachable_server_is_one_message(tmp_path: Path, prefect_home: Path) -> None:
    api = "http://127.0.0.1:9/api"
    environment = {**os.environ, "PREFECT_HOME": str(prefect_home), "PREFECT_API_URL": api}
    command = [sys.executable, "-m", "charter", "constitution", "notify", str(write(tmp_path / "law.md", GOOD))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"Prefect server '{api}': did not take the event" in done.stderr
    assert "Traceback" not in done.stderr
