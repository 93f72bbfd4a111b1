"""What a run will ask, foretold and then counted."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from charter.cli import app as cli
from charter.config import Config
from charter.core.losses import ADVICE
from charter.inference import EngineSpec, connect
from charter.inference.session import Session
from charter.pipeline.sequence import RESPOND
from charter.pipeline.shards import run_stage
from charter.report.terminal import open_console
from charter.runs.folder import start_run
from charter.testing.null_server import NullServer, run_null_server
from charter.views.estimate import Forecast, _spread, duration_text, estimate, print_forecast
from tests.support.finished_run import answer, finish_run, settings

N = 24
NEEDED = {"respond": N, "revise": 5 * N, "judge": 2 * N}  # four critiques and a revision; a pair in both orders


def quiet(line: str) -> None:
    assert "log-probabilities" in line  # of the probe; nothing is started


def calls(forecast: Forecast) -> dict[str, int]:
    return {one.stage: one.calls for one in forecast.stages}


def to_ask(forecast: Forecast) -> dict[str, int]:
    return {one.stage: one.to_ask for one in forecast.stages}


def written(config: Config, path: Path) -> Path:
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return path


def test_a_run_is_foretold_and_its_probe_is_not_asked_again(tmp_path: Path) -> None:
    with run_null_server(NullServer(answer=answer)) as server:
        config = settings(tmp_path, server.url, n=N)
        forecast = estimate(config, 6, quiet)
        assert server.counts["requests"] == forecast.asked == 6 * 8
        assert (forecast.rows, forecast.probed, forecast.complete) == (N, 6, 0)
        assert calls(forecast) == NEEDED
        assert to_ask(forecast) == {stage: count * 18 // 24 for stage, count in NEEDED.items()}
        probe_tokens = server.counts["tokens"], server.counts["prompt_tokens"]
        assert all(one.seconds and one.seconds > 0 for one in forecast.stages)

        finish_run(config)
        assert server.counts["requests"] == sum(NEEDED.values())
        answers, requests = (server.counts[name] for name in ("tokens", "prompt_tokens"))
        assert forecast.total.completion_tokens == pytest.approx(answers - probe_tokens[0], rel=0.05)
        assert forecast.total.prompt_tokens == pytest.approx(requests - probe_tokens[1], rel=0.05)


def test_rows_that_the_probe_loses_come_with_reason_and_advice(tmp_path: Path) -> None:
    with run_null_server(NullServer(answer=lambda messages: "")) as server:
        forecast = estimate(settings(tmp_path, server.url, n=N), 6, quiet)
    assert forecast.lost == 6
    assert "6 empty" in forecast.losses and ADVICE["empty"] in forecast.losses


def test_what_the_store_has_is_not_foretold(tmp_path: Path) -> None:
    with run_null_server(NullServer(answer=answer)) as server:
        config = settings(tmp_path, server.url, n=N)
        spec = EngineSpec.of(connect([server.url], config.serving), config.store_url)
        run = start_run(config).context({"base": spec})
        asyncio.run(run_stage(run, RESPOND, 0, Session()))
        begun = estimate(config, 6, quiet)
        assert calls(begun) == NEEDED
        assert to_ask(begun) == {"respond": 0, "revise": 5 * (N - 6), "judge": 2 * (N - 6)}

        finish_run(config)
        asked = server.counts["requests"]
        done = estimate(config, 6, quiet)
        assert (done.complete, done.probed, done.asked, done.total.to_ask) == (N, 0, 0, 0)
        assert (calls(done), done.total.seconds) == (NEEDED, 0.0)
        assert server.counts["requests"] == asked

        more = estimate(settings(tmp_path, server.url, n=2 * N), 5, quiet)
        assert more.complete == N
        assert calls(more) == {stage: 2 * count for stage, count in NEEDED.items()}
        assert more.total.to_ask == sum(NEEDED.values()) - 5 * 8


def test_rows_that_fail_are_reckoned_with(tmp_path: Path) -> None:
    """A row that is lost early asks for less; nothing hangs on it."""

    def sometimes(messages: list[dict[str, str]]) -> str:
        return "" if "Question number 1" in messages[0]["content"] and len(messages) > 1 else answer(messages)

    with run_null_server(NullServer(answer=sometimes)) as server:
        config = settings(tmp_path, server.url, n=N)
        forecast = estimate(config, N, quiet)
        assert forecast.total.to_ask == 0
        lost = sum(str(i).startswith("1") for i in range(N))
        assert calls(forecast) == {"respond": N, "revise": 5 * (N - lost) + 3 * lost, "judge": 2 * (N - lost)}


def test_the_command(tmp_path: Path) -> None:
    with run_null_server(NullServer(answer=answer)) as server:
        path = str(written(settings(tmp_path, server.url, n=N), tmp_path / "config.yaml"))
        done = CliRunner().invoke(cli.app, ["estimate", path, "prompts.n=20", "--rows", "5", "--json"])
        assert done.exit_code == 0, done.output
        made = json.loads(done.stdout)
        assert (made["rows"], made["probed"], made["asked"]) == (20, 5, 40)
        total = made["stages"][-1]
        assert (total["stage"], total["calls"], total["stored"], total["to_ask"]) == ("all", 160, 40, 120)

        text = CliRunner().invoke(cli.app, ["estimate", path, "prompts.n=20", "--rows", "5"]).stdout
        head, *rows = [line.split() for line in text.splitlines() if line.split()]
        assert head[0] == "stage"
        assert next(row[:4] for row in rows if row[0] == "revise") == ["revise", "100", "50", "50"]
        assert "20 rows; for 5 the store has every answer.\n5 were sent through the stages now" in text
        assert "held-out requests" in text
        assert (made["benchmarks"], "benchmarks" in text) == ({}, False)


def test_benchmarks_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"xstest": 450, "gsm8k": None}
    print_forecast(Forecast(0, 0, 0, 0, 0, (), held_out=900, benchmarks=asked), open_console())
    assert "the samples of benchmarks, answered by each of these models: xstest (450), gsm8k (?)." in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none.yaml"], "config 'none.yaml': no such file"),
        (["{config}", "nonsense"], "override 'nonsense': not a setting"),
        (["{config}", "prompts.m=3"], "prompts.m"),
        (["{config}"], "base_url 'http://127.0.0.1:9/v1/models': no answer"),
    ],
)
def test_a_mistake_is_one_message(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = written(settings(tmp_path, "http://127.0.0.1:9/v1"), tmp_path / "config.yaml")
    monkeypatch.setattr(sys, "argv", ["charter", "estimate", *(a.format(config=path) for a in arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    errors = capsys.readouterr().err
    assert (stopped.value.code, "Traceback" in errors) == (2, False)
    assert says in errors


def test_rows_are_taken_at_even_distances() -> None:
    assert _spread(range(100), 100, 4) == [0, 25, 50, 75]
    assert _spread("abc", 3, 5) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59.7, "1 min 0 s"), (61, "1 min 1 s"), (7384, "2 h 3 min"), (10**7, "2,777 h 46 min")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration_text(seconds) == said
