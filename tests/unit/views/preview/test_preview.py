"""A preview: what is shown, what is asked again after an edit, and what happens when the file breaks."""

import asyncio
import base64
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from charter.cli import app as cli
from charter.config import Config, Generation, Prompts, Serving
from charter.constitution import load_constitution, parse_constitution, select
from charter.core.errors import ServingError
from charter.core.messages import Message, Messages, user
from charter.data.sources import load_prompts
from charter.inference import EngineSpec, Sampling, connect
from charter.inference.session import Session
from charter.pipeline.context import RunContext
from charter.pipeline.sequence import RESPOND, REVISE, run_in_memory
from charter.report.terminal import side_by_side
from charter.testing.null_server import NullServer, run_null_server
from charter.testing.scripted import ScriptedModel
from charter.views.critiques import CritiqueRound
from charter.views.preview.page import render_preview
from charter.views.preview.preview import Preview, PreviewedRow, WatchedFiles, previewed_rows, previews

CONSTITUTION = """---
name: doors
---

## Keep quiet {#quiet}

Secrets stay secrets in every answer.

## Be kind {#kind}

The answer has a friendly tone.

## Be brief {#brief}

The answer is as short as it can be.

## Be true {#true}

Nothing in the answer is made up.
"""
HOSTILE = "<script>alert(1)</script>"
PATIENCE_S = 60.0


def answer(messages: Sequence[Message]) -> str:
    """A model that tells secrets, finds them under one principle alone, and then takes them back."""
    asked = messages[-1]["content"]
    if asked.startswith("Critique your last answer"):
        wrong = "Secrets" in asked and "tells the secret" in messages[-2]["content"]
        return f"It is about a door. Verdict: {'violated' if wrong else 'respected'}"
    if asked.startswith("Rewrite your answer"):
        return messages[-4]["content"].replace("tells the secret", "keeps quiet about the secret")
    return f"{asked} This answer tells the secret {HOSTILE} of the door.\x1b[2J\u202e"


@pytest.fixture
def constitution_file(tmp_path: Path) -> Path:
    path = tmp_path / "constitution_file.md"
    path.write_text(CONSTITUTION)
    return path


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps({"id": f"q{i}", "prompt": f"Question number {i}?"}) + "\n" for i in range(8)))
    return path


@pytest.fixture
def server() -> Iterator[NullServer]:
    with run_null_server(NullServer(answer=answer, keep_bodies=True)) as running:
        yield running


@asynccontextmanager
async def watching(
    constitution_file: Path, questions: Path, server: NullServer
) -> AsyncIterator[AsyncIterator[Preview]]:
    config = Config(prompts=Prompts(source=str(questions)), generation=Generation(rounds=2))
    rows = [prompt.row() for prompt in load_prompts(config.prompts, config.seed).prompts]
    spec = EngineSpec.of(connect([server.url], Serving()), str(constitution_file.parent / "store.sqlite"))
    async with asyncio.timeout(PATIENCE_S):
        yield previews(constitution_file, rows, Session(), spec, config)


def command(constitution_file: Path, questions: Path, server: NullServer, *more: object) -> list[str]:
    store = constitution_file.parent / "store.sqlite"
    fixed = [constitution_file, "--prompts", questions, "--base-url", server.url, "--store", store]
    return ["constitution", "preview", *map(str, [*fixed, *more])]


def preview(*arguments: Any, columns: int = 80) -> str:
    result = CliRunner().invoke(cli.app, command(*arguments), env={"COLUMNS": str(columns)})
    assert result.exit_code == 0, result.output
    return result.stdout


async def preview_rows(prompts: list[dict[str, Any]], script: Any, folder: Path) -> tuple[PreviewedRow, ...]:
    constitution, config = parse_constitution(CONSTITUTION), Config(generation=Generation(rounds="all"))
    run = RunContext(config, constitution, folder, {"base": EngineSpec((), "m", "m", str(folder / "store.sqlite"))})
    ask = ScriptedModel(script).ask
    result = await run_in_memory(prompts, run, Session(), lambda _: ask, stages=[RESPOND, REVISE])
    return previewed_rows(result, constitution)


def prompt(id: str) -> dict[str, Any]:
    return {"row_id": id, "prompt": [user(f"Question {id}?")], "kind": "door", "source": "test"}


async def test_a_row_keeps_every_step_of_its_way(tmp_path: Path) -> None:
    (row,) = await preview_rows([prompt("a")], lambda m, _: answer(m), tmp_path)
    assert (row.row_id, row.kind, row.question, row.failure) == ("a", "door", "Question a?", "")
    assert row.response is not None
    assert row.final == row.response.replace("tells", "keeps quiet about")
    assert [one.number for one in row.rounds] == [1, 2, 3, 4]
    assert {one.principle_id: one.verdict for one in row.rounds} == {
        "quiet": "violated",
        "kind": "respected",
        "brief": "respected",
        "true": "respected",
    }
    assert [one.principle_title for one in row.rounds if one.changed] == ["Keep quiet"]


async def test_a_row_that_fails_says_where_and_the_others_go_on(tmp_path: Path) -> None:
    def script(messages: Messages, sampling: Sampling) -> str:
        broken = "Question a?" in messages[0]["content"] and len(messages) > 1
        return " " if broken else answer(messages)

    failed, whole = await preview_rows([prompt("a"), prompt("b")], script, tmp_path)
    assert failed.response is not None
    assert failed.failure.startswith("critique: empty under '")
    assert (failed.final, failed.changed, failed.rounds) == (None, False, ())
    assert whole.changed


async def test_servers_that_are_gone_are_one_error(tmp_path: Path) -> None:
    def script(messages: Messages, sampling: Sampling) -> str:
        raise ServingError("gone")

    with pytest.raises(ServingError, match="gone"):
        await preview_rows([prompt("a"), prompt("b")], script, tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "left", "right"),
    [
        (
            "I like dogs",
            "I like dogs very much",
            [(False, "I like dogs")],
            [(False, "I like dogs "), (True, "very much")],
        ),
        ("same words", "same words", [(False, "same words")], [(False, "same words")]),
        ("one a two b", "six a ten b", [(True, "one a two "), (False, "b")], [(True, "six a ten "), (False, "b")]),
        ("old one", "new", [(True, "old one")], [(True, "new")]),
    ],
    ids=["the last word stays", "equal", "a stray word is no stretch", "all is new"],
)
def test_words_are_marked_on_both_sides(before: str, after: str, left: list[Any], right: list[Any]) -> None:
    assert side_by_side(before, after) == (tuple(left), tuple(right))


def test_the_terminal_shows_both_answers_beside_each_other(
    constitution_file: Path, questions: Path, server: NullServer
) -> None:
    text = preview(constitution_file, questions, server, "--n", 2, "--rounds", "all", columns=220)
    assert text.count("Prompt\n") == 2
    assert len(re.findall(r"^First response +Final answer", text, re.M)) == 2
    assert len(re.findall(r"\[-tells-\] the secret <script>.*\{\+keeps quiet about\+\} the secret <script>", text)) == 2
    assert text.count("VIOLATED, answer revised: Keep quiet #quiet") == 2
    assert text.count("respected: Be kind #kind") == 2
    assert "It is about a door. Verdict: respected" in text
    assert re.search(r"2 of 2 answers revised; asked 12, from the store 0, \d+\.\d s\n$", text)


@pytest.mark.parametrize(("columns", "beside"), [(120, True), (80, True), (60, False)])
def test_the_terminal_s_width_is_kept(
    constitution_file: Path, questions: Path, server: NullServer, columns: int, beside: bool
) -> None:
    text = preview(constitution_file, questions, server, "--n", 1, "--rounds", "all", columns=columns)
    assert max(map(len, text.splitlines())) <= columns
    assert bool(re.search("First response +Final answer", text)) == beside
    assert ("\nFirst response\n" in text) == ("\nFinal answer\n" in text) == (not beside)


def test_nothing_a_model_says_commands_the_terminal(
    constitution_file: Path, questions: Path, server: NullServer
) -> None:
    text = preview(constitution_file, questions, server, "--n", 1)
    assert not set(text) & {"\x1b", "\u202e"}
    assert "\ufffd[2J" in "".join(text.split())


def test_json_has_every_step(constitution_file: Path, questions: Path, server: NullServer) -> None:
    constitution_file.write_text(CONSTITUTION.replace("{#kind}", "{#kind .soft}"))
    made = json.loads(preview(constitution_file, questions, server, "--n", 3, "--rounds", "all", "--json"))
    assert made["constitution"] | {"hash": ""} == {
        "file": str(constitution_file),
        "name": "doors",
        "version": "0",
        "hash": "",
    }
    assert (made["asked"], made["from_store"], made["broken"]) == (18, 0, False)
    assert [(p["line"], p["code"]) for p in made["problems"]] == [(9, "unknown-tag")]
    for row in made["rows"]:
        assert row["prompt"] == [{"role": "user", "content": row["response"].split("?")[0] + "?"}]
        assert row["changed"]
        assert HOSTILE in row["final"]
        assert {"change": "removed", "words": "tells "} in row["words"]
        assert [one["number"] for one in row["rounds"]] == [1, 2, 3, 4]
        assert sum(one["verdict"] == "violated" for one in row["rounds"]) == 1
    again = json.loads(preview(constitution_file, questions, server, "--n", 3, "--rounds", "all", "--json"))
    assert (again["asked"], again["from_store"], again["rows"]) == (0, 18, made["rows"])


class Page(HTMLParser):
    """Tags in order and the visible text; crossed tags are an error."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def names(self) -> list[str]:
        return [tag for tag, _ in self.tags]


def test_the_page_escapes_what_models_say(
    constitution_file: Path, questions: Path, server: NullServer, tmp_path: Path
) -> None:
    html = tmp_path / "pages" / "preview.html"
    preview(constitution_file, questions, server, "--n", 2, "--rounds", "all", "--html", html)
    page = Page(html.read_text(encoding="utf-8"))
    assert "script" not in page.names()
    assert page.text.count(HOSTILE) == 4
    assert (page.names().count("del"), page.names().count("ins")) == (2, 2)
    assert page.text.count("Round ") == 8
    assert not [a for _, a in page.tags if a.get("http-equiv") == "refresh"]
    policy, style = (re.search(p, html.read_text(), re.S) for p in ("style-src '([^']*)'", "<style>(.*?)</style>"))
    assert policy is not None
    assert style is not None
    assert policy[1] == "sha256-" + base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()


@pytest.mark.parametrize(
    "text", [HOSTILE, '"><img src=x>', "</style></main></html>", "{{ 7 * 7 }}", "\x00\ud800 words"]
)
def test_the_page_is_the_same_whatever_texts_hold(text: str) -> None:
    def page(text: str) -> Page:
        rounds = (
            CritiqueRound(1, text, text, True, text, f"{text} a", True),
            CritiqueRound(2, text, text, True, text, "b", True),
        )
        row = PreviewedRow(text, text, (user(text),), text, rounds)
        failed = PreviewedRow(text, text, (user(text),), text, (), text)
        return Page(render_preview(Preview(parse_constitution(CONSTITUTION), (row, failed), (), 1, 1, 1.0), reload_s=2))

    made = page(text)
    assert made.names() == page("words").names()
    assert [a["content"] for _, a in made.tags if a.get("http-equiv") == "refresh"] == ["2"]
    assert text in made.text or not text.isprintable()


async def test_an_edit_asks_only_for_the_rows_that_drew_the_principle(
    constitution_file: Path, questions: Path, server: NullServer
) -> None:
    async with watching(constitution_file, questions, server) as shown:
        first = await anext(shown)
        assert first.asked == server.counts["requests"] == 8 + 16 + sum(row.changed for row in first.rows)
        server.bodies.clear()
        constitution_file.write_text(CONSTITUTION.replace("a friendly tone", "a warm and friendly tone"))
        edited = await anext(shown)
    drew = {(row.row_id, one.number) for row in first.rows for one in row.rounds if one.principle_id == "kind"}
    constitution = load_constitution(constitution_file)
    expected = {
        (f"q{i}", k + 1) for i in range(8) for k in range(2) if select(constitution, f"q{i}", k, 0)[0].id == "kind"
    }
    assert drew == expected
    assert 0 < len({id for id, _ in drew}) < 8
    assert edited.asked == len(server.bodies) == len(drew)
    assert all("a warm and friendly tone" in body["messages"][-1]["content"] for body in server.bodies)
    assert sorted(body["messages"][0]["content"] for body in server.bodies) == sorted(
        f"Question number {id[1:]}?" for id, _ in drew
    )
    assert edited.from_store == first.asked - len(drew)


async def test_a_broken_file_leaves_the_old_preview(
    constitution_file: Path, questions: Path, server: NullServer
) -> None:
    async with watching(constitution_file, questions, server) as shown:
        first = await anext(shown)
        constitution_file.write_text(CONSTITUTION.replace("## Be brief", "#### Be brief"))
        broken = await anext(shown)
        assert broken.broken
        assert (broken.rows, broken.constitution, broken.asked) == (first.rows, first.constitution, 0)
        assert str(broken.problems[0]).startswith(f"{constitution_file}:13: unknown section '#### Be brief")
        page = Page(render_preview(broken))
        assert "The file is broken" in page.text
        assert f"{constitution_file}:13" in page.text
        constitution_file.unlink()
        assert "cannot be read" in (await anext(shown)).problems[0].what
        constitution_file.write_text(f"{CONSTITUTION}\n<!-- put right -->\n")
        fixed = await anext(shown)
        assert (fixed.broken, fixed.problems, fixed.asked) == (False, (), 0)
        assert fixed.rows == first.rows


async def test_what_the_file_extends_is_watched_too(
    constitution_file: Path, questions: Path, server: NullServer
) -> None:
    variant = constitution_file.with_name("variant.md")
    variant.write_text(
        "---\nextends: constitution_file.md\n---\n\n## Be warm {#kind}\n\nThe answer sounds like a friend.\n"
    )
    async with watching(variant, questions, server) as shown:
        first = await anext(shown)
        constitution_file.write_text(CONSTITUTION.replace("as short as it can be", "short"))
        second = await anext(shown)
    assert "The answer is short." in {p.text for p in second.constitution.principles}
    drew = [row for row in first.rows if "brief" in {one.principle_id for one in row.rounds}]
    assert second.asked == len(drew) > 0


@pytest.mark.parametrize("way", ["written", "put in its place", "gone"])
async def test_every_way_of_saving_is_seen(constitution_file: Path, way: str) -> None:
    files = WatchedFiles()
    assert files.read(constitution_file).decode() == CONSTITUTION
    waiting = asyncio.create_task(files.saved(poll_s=0.01))
    await asyncio.sleep(0)
    if way == "written":
        constitution_file.write_text("other")
    elif way == "put in its place":
        other = constitution_file.with_name("swap")
        other.write_text("other")
        other.replace(constitution_file)
    else:
        constitution_file.unlink()
    await asyncio.wait_for(waiting, PATIENCE_S)


def test_watch_from_first_to_last(constitution_file: Path, questions: Path, server: NullServer, tmp_path: Path) -> None:
    html = tmp_path / "preview.html"
    arguments = command(constitution_file, questions, server, "--n", 2, "--rounds", "all", "--watch", "--html", html)
    start = "from charter.cli.app import main; main()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", start, *arguments], stdout=pipe, stderr=pipe, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        try:
            assert "log-probabilities" in child.stderr.readline()  # what the server supports
            assert f"Watching {constitution_file}." in child.stderr.readline()
            assert "asked 12" in next(line for line in child.stdout if "asked" in line)
            assert 'http-equiv="refresh"' in html.read_text()
            constitution_file.write_text(CONSTITUTION.replace("a friendly tone", "warmth"))
            text = next(line for line in child.stdout if "asked" in line)
            assert "2 of 2 answers revised, all as before; asked 2, from the store 10" in text
            constitution_file.write_text("nothing")
            assert f"{constitution_file}:1: no principles" in child.stderr.readline()
            assert "the preview before it stays" in child.stderr.readline()
            os.kill(child.pid, signal.SIGINT)
            out, errors = child.communicate(timeout=PATIENCE_S)
        finally:
            child.kill()
    assert (child.returncode, out, errors) == (0, "", f"Stopped watching {constitution_file}.\n")
    assert 'http-equiv="refresh"' not in html.read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none.md"], "none.md: cannot be read"),
        (["CONSTITUTION", "--prompts", "none.jsonl"], "none.jsonl"),
        (["CONSTITUTION", "--base-url", "http://127.0.0.1:9"], "base_url 'http://127.0.0.1:9/v1/models': no answer"),
        (["CONSTITUTION", "--n", "0"], "'--n'"),
        (["CONSTITUTION", "--rounds", "some"], "--rounds 'some': neither a number"),
        (["CONSTITUTION", "--html", "CONSTITUTION"], "Name a file that ends in .html."),
        (["CONSTITUTION", "--model", "nowhere/at/all"], "model 'nowhere/at/all': no such folder"),
        (["CONSTITUTION", "--config", "none.yaml"], "config 'none.yaml': no such file"),
    ],
)
def test_a_mistake_is_one_message(
    constitution_file: Path,
    arguments: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    named = [str(constitution_file) if argument == "CONSTITUTION" else argument for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["charter", "constitution", "preview", *named])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    errors = capsys.readouterr().err
    assert says in errors
    assert "Traceback" not in errors
    assert constitution_file.read_text() == CONSTITUTION
