"""A row traced on its way, and a row of a finished run followed again without a server."""

import io
import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from charter.cli import app as cli
from charter.config import Config
from charter.core.messages import user
from charter.data.shards import read_rows
from charter.inference.completion import Completion, Sampling
from charter.testing.null_server import NullServer, run_null_server
from charter.views.recorder import Call
from charter.views.trace import Trace, print_trace, shared_beginning, trace_prompt
from tests.support.finished_run import answer, finish_run, settings


@pytest.fixture
def server() -> Iterator[NullServer]:
    with run_null_server(NullServer(answer=answer, keep_bodies=True)) as running:
        yield running


def with_rounds(config: Config, rounds: int | str) -> Config:
    generation = config.generation.model_copy(update={"rounds": rounds})
    return config.model_copy(update={"generation": generation})


def quiet(line: str) -> None:
    assert "log-probabilities" in line  # of the probe; nothing is started


def shown(trace: Trace) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_trace(trace, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_prompt_is_sent_through_the_chain(server: NullServer, tmp_path: Path) -> None:
    config = with_rounds(settings(tmp_path, server.url), "all")
    trace = trace_prompt("  What is behind the door?\n", config, quiet)
    stages = [call.stage for call in trace.calls]
    assert sorted(stages) == sorted(["respond", "critique", "critique", "revise", "judge", "judge"])
    assert (stages[0], stages[-2:]) == ("respond", ["judge", "judge"])
    assert stages[stages.index("revise") - 1] == "critique"
    for call, body in zip(trace.calls[:-2], server.bodies, strict=False):
        assert (list(call.messages), call.sampling.seed) == (body["messages"], body["seed"])
    assert len(server.bodies) == len(trace.calls)
    revision = next(call for call in trace.calls if call.stage == "revise")
    assert revision.answer is not None
    assert "keeps quiet about the secret" in revision.answer.text
    assert {end["as"] for end in trace.ended} <= {"pair", "sft"}

    again = trace_prompt("What is behind the door?", config, quiet)
    assert len(server.bodies) == len(trace.calls)
    assert again.ended == trace.ended
    assert all(call.answer and call.answer.stored for call in again.calls)


def test_what_is_printed(server: NullServer, tmp_path: Path) -> None:
    text = shown(trace_prompt("What is behind the door?", with_rounds(settings(tmp_path, server.url), "all"), quiet))
    assert text.count("───\n") == 6 and text.startswith("1 respond ─")
    assert "user\n  What is behind the door?" in text
    assert "answer\n  What is behind the door? This answer tells the secret of the door." in text
    assert "(the first message as in 1)" in text  # the critique's request begins as the first one did
    assert "Verdict: violated" in text and "A 0." in text and "B 0." in text
    assert "asked 6, from the store 0; " in text


def test_a_row_that_fails_says_where(tmp_path: Path) -> None:
    with run_null_server(NullServer(answer=lambda messages: "" if len(messages) > 1 else "Hm.")) as server:
        trace = trace_prompt("Well?", settings(tmp_path, server.url), quiet)
    assert [call.stage for call in trace.calls] == ["respond", *["critique"] * 3]
    assert (trace.ended[0]["stage"], trace.ended[0]["reason"]) == ("critique", "empty")
    assert "at critique: empty" in shown(trace)


def test_a_call_that_cannot_succeed_is_shown_without_an_answer(tmp_path: Path) -> None:
    with run_null_server(NullServer(max_model_len=5)) as server:
        trace = trace_prompt("Well?", settings(tmp_path, server.url), quiet)
    assert trace.calls[0].answer is None
    text = shown(trace)
    assert "no answer\n  context-too-long: This model's maximum context length is 5 tokens." in text
    assert "asked 0, from the store 0, no answer 1" in text


def test_a_row_of_a_finished_run_needs_no_server(tmp_path: Path) -> None:
    with run_null_server(NullServer(answer=answer)) as server:
        folder = finish_run(settings(tmp_path, server.url))
        asked = server.counts["requests"]
    runner = CliRunner()
    labels = {row["row_id"]: row["p_chosen"] for name in ("pairs", "sft_data") for row in read_rows(folder / name)}
    calls = 0
    for row_id, p in labels.items():
        done = runner.invoke(cli.app, ["trace", "--row", row_id, "--run", str(folder), "--json"])
        assert done.exit_code == 0, done.output
        trace = json.loads(done.stdout)
        assert [end["p_chosen"] for end in trace["ended"]] == [p]
        assert all(call["answer"]["stored"] for call in trace["calls"])
        calls += len(trace["calls"])
    assert calls == asked

    with sqlite3.connect(tmp_path / "outputs" / "completions.sqlite") as store:
        store.execute("DELETE FROM completions")
    store.close()
    text = runner.invoke(cli.app, ["trace", "--row", "r3", "--run", str(folder)]).stdout
    assert "no answer\n  not-stored: the store has no answer to this request" in text


def test_what_stood_in_an_earlier_call_is_found() -> None:
    def call(number: int, *texts: str) -> Call:
        return Call(number, "judge", tuple(map(user, texts)), Sampling(4), Completion("", "stop", 1, 1))

    earlier = [call(1, "a"), call(2, "a", "b"), call(3, "a", "c")]
    assert shared_beginning(call(4, "a", "b", "d"), earlier) == (2, 2)
    assert shared_beginning(call(4, "a", "x"), earlier) == (1, 3)
    assert shared_beginning(call(4, "x"), earlier) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "wants either a prompt"),
        (["hello", "--row", "r1", "--run", "outputs/run"], "Give one of them."),
        (["--row", "r1"], "wants either a prompt"),
        (["hello", "--config", "none.yaml"], "config 'none.yaml': no such file"),
        (["  ", "--config", "{config}"], "prompt '': is empty"),
        (["hello", "--config", "{config}"], "base_url 'http://127.0.0.1:9/v1/models': no answer"),
        (["--row", "r1", "--run", "{tmp}"], "no config.yaml. Name a run's folder"),
        (["--row", "r9", "--run", "{run}"], "no row of run"),
        (["--row", "r1", "--run", "{unfinished}"], "not finished. Let it finish"),
        (["--row", "r1", "--run", "{moved}"], "Trace from the folder in which the run was started."),
    ],
)
def test_a_mistake_is_one_message(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = settings(tmp_path, "http://127.0.0.1:9/v1")
    (tmp_path / "config.yaml.txt").write_text(yaml.safe_dump(made.model_dump(mode="json")))
    with run_null_server(NullServer(answer=answer)) as server:
        run = finish_run(settings(tmp_path, server.url)) if "--row" in arguments else tmp_path
    places = {"tmp": tmp_path, "config": tmp_path / "config.yaml.txt", "run": run}
    if "{unfinished}" in arguments:
        (run / "manifest.json").unlink()
    if "{moved}" in arguments:
        run = run.rename(tmp_path / "elsewhere")
    named = [argument.format(**places, unfinished=run, moved=run) for argument in arguments]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["charter", "trace", *named])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    errors = capsys.readouterr().err
    assert (stopped.value.code, "Traceback" in errors) == (2, False)
    assert says in errors
