import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from charter.config import Config, Prompts, Serving, Training, load_config
from charter.config.training import Tracker
from charter.core.errors import ConfigError, DataError
from charter.data.candidates import PROMPT_SOURCES
from charter.data.sources import open_source
from charter.evaluation.overlap import find_overlap
from charter.evaluation.records import EXACT_GRADERS, Graded, HeldOut
from charter.evaluation.requests import load_requests
from charter.runs.folder import start_run
from charter.runs.preflight import (
    check_config,
    check_config_quickly,
    check_distributed,
    check_evaluation,
    check_runner,
    check_tracker,
)
from charter.runs.verdict import overlap_of
from charter.testing.null_server import run_null_server


def test_a_run_reads_its_prompts_thrice_and_the_command_only_the_first_one(tmp_path: Path) -> None:
    read = list[list[int]]()

    def counted(settings: Prompts, seed: int) -> Iterator[dict[str, str]]:
        read.append([])
        for number in range(5):
            read[-1].append(number)
            yield {"prompt": f"Question {number}?"}

    PROMPT_SOURCES.add("read-twice", counted)
    with run_null_server() as server:
        config = Config(
            outputs=tmp_path, serving=Serving(base_urls=(server.url,)), prompts=Prompts(source="read-twice")
        )
        check_config_quickly(config)
        assert read == [[0]]
        started = start_run(config, check_config(config))
    assert read[1:] == [[0, 1, 2, 3, 4]] * 3  # a survey, the search for held-out requests, and the run
    assert started.prompts.rows_out == 5


@pytest.mark.parametrize("rows", ["", '{"prompt": ""}\n' * 3], ids=["empty", "blank"])
def test_prompts_that_cannot_be_used_are_refused_before_the_flow_starts(rows: str, tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text(rows)
    with pytest.raises(DataError, match=r"the file is empty|none of its 3 rows"):
        check_config_quickly(Config(outputs=tmp_path, prompts=Prompts(source=str(tmp_path / "prompts.jsonl"))))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"budget": {"calls": 10}}, r"budget\.calls '10': kept by one process.*leave out `runner: ray`"),
        ({"budget": {"minutes": 1.5}}, r"budget\.minutes '1\.5'"),
        ({"generation": {"templates": "templates"}}, r"generation\.templates 'templates': .*/templates\."),
        ({}, r"runner 'ray': not installed here\. Run `pip install .*\[ray\]'`"),
    ],
    ids=["calls", "minutes", "templates", "not installed"],
)
def test_what_ray_cannot_do_is_refused(
    settings: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prefect_ray", None)  # as where it is not installed
    file = tmp_path / "config.yaml"
    file.write_text("runner: ray\n")
    config = load_config(file, settings)
    assert config.runner.address == "auto"
    with pytest.raises(ConfigError, match=says):
        check_runner(config)
    check_runner(Config(**settings))


@pytest.mark.parametrize(
    ("tracker", "says"),
    [
        ("azure_ml", r"'azure_ml': not installed here\. Run `pip install azureml-core`"),
        ("flyte", r"'flyte': not installed here\. Run `pip install flytekit`"),
        ("neptune", r"'neptune': not installed here\. Run `pip install neptune`"),
        ("kubeflow", r"'kubeflow': KUBEFLOW_TRAINER_SERVER_URL is not set"),
    ],
)
def test_a_tracker_that_is_not_there_is_refused_with_its_package(
    tracker: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBEFLOW_TRAINER_SERVER_URL", raising=False)
    for module in ("azureml", "flytekit", "neptune"):
        monkeypatch.setitem(sys.modules, module, None)  # as where it is not installed
    with pytest.raises(ConfigError, match=says):
        check_tracker(Training.model_validate({"tracker": tracker}))


def test_every_tracker_that_transformers_knows_has_its_name_here() -> None:
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    assert set(get_args(Tracker)) == {"none", *INTEGRATION_TO_CALLBACK}


def test_zero3_is_refused_where_deepspeed_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    with pytest.raises(ConfigError, match=r"'zero3': DeepSpeed is not installed.*pip install .*\[zero3\]'"):
        check_distributed(Training(processes=2, distributed="zero3"))
    check_distributed(Training(processes=2, distributed="fsdp2"))


def held_out(folder: Path, prompts: list[Any], requests: list[Any], **evaluation: Any) -> Config:
    for name, rows in (("prompts", prompts), ("held-out", requests)):
        (folder / f"{name}.jsonl").write_text(
            "".join(json.dumps({"prompt": r, "category": "benign"}) + "\n" for r in rows)
        )
    return Config.model_validate(
        {
            "outputs": str(folder / "outputs"),
            "prompts": {"source": str(folder / "prompts.jsonl")},
            "evaluation": {"source": str(folder / "held-out.jsonl"), "grader": "judge", **evaluation},
        }
    )


QUESTION = "How do I bake a loaf of bread that stays fresh for a week?"
CONVERSATION = [
    {"role": "user", "content": "Hello, I am new to this."},
    {"role": "assistant", "content": "Welcome. What is it?"},
    {"role": "user", "content": QUESTION},
]


@pytest.mark.parametrize(
    ("prompt", "request_"),
    [
        (QUESTION, QUESTION),
        (QUESTION, f"  {QUESTION.upper()[:-1]} !"),
        (QUESTION, QUESTION.replace("a week", "a month")),
        (CONVERSATION, QUESTION),
        (QUESTION, CONVERSATION),
        (CONVERSATION, CONVERSATION),
    ],
    ids=["equal", "case and punctuation", "nearly", "last turn of a prompt", "last turn of a request", "conversation"],
)
def test_held_out_requests_among_the_prompts_are_refused_before_anything_is_spent(
    prompt: Any, request_: Any, tmp_path: Path
) -> None:
    prompts, requests = ["Who painted this?", prompt], [request_, "Which river is the longest?"]
    with run_null_server() as server:
        config = held_out(tmp_path, prompts, requests)
        config = config.model_copy(update={"serving": Serving(base_urls=(server.url,))})
        with pytest.raises(DataError, match="1 of 2 held-out requests are among the prompts"):
            check_config(config)
        allowed = config.evaluation.model_copy(update={"allow_overlap": True})
        check_config(config.model_copy(update={"evaluation": allowed}))
        assert server.counts["requests"] == 0


def test_only_the_prompts_that_are_drawn_count(tmp_path: Path) -> None:
    prompts = [f"What is the use of the number {i} in the kitchen?" for i in range(30)]
    for drawn, overlaps in ((1, False), (30, True)):
        config = held_out(tmp_path, prompts, prompts[:1])
        config = config.model_copy(update={"prompts": config.prompts.model_copy(update={"n": drawn})})
        source = open_source(config.prompts, 3)
        is_drawn = any(prompt.messages[0]["content"] == prompts[0] for prompt in source.prompts())
        assert is_drawn == overlaps
        found = find_overlap(
            load_requests(config.evaluation, 0), (prompt.messages for prompt in source.prompts()), near=False
        )
        assert (found.exact > 0) == overlaps


def test_the_sandbox_keeps_its_held_out_requests_apart() -> None:
    config = load_config(Path("configs/demo.yaml"))
    prompts = open_source(config.prompts, config.seed).prompts()
    found = overlap_of(config, (prompt.messages for prompt in prompts))
    assert (found.found, found.requests > 500, found.prompts > 500) == (0, True, True)


@pytest.mark.parametrize("grader", ["oracle", "both", "own-grader"])
def test_a_grader_that_cannot_grade_the_requests_is_refused(grader: str, tmp_path: Path) -> None:
    def grade(answer: Graded, request: HeldOut) -> Graded:
        assert request.world is not None
        return answer

    EXACT_GRADERS.add("own-grader", grade)
    with pytest.raises(ConfigError, match="evaluation"):
        check_evaluation(held_out(tmp_path, ["One?"], ["Two?"], grader=grader), {})
