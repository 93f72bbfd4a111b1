import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from charter.config import Config, Prompts, Serving, Training, load_config
from charter.config.training import Tracker
from charter.core.errors import ConfigError, DataError
from charter.data.candidates import PROMPT_SOURCES
from charter.runs.folder import start_run
from charter.runs.preflight import (
    check_config,
    check_config_quickly,
    check_distributed,
    check_runner,
    check_tracker,
)
from charter.testing.null_server import run_null_server


def test_a_run_reads_its_prompts_twice_and_the_command_only_the_first_one(tmp_path: Path) -> None:
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
    assert read[1:] == [[0, 1, 2, 3, 4]] * 2
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
