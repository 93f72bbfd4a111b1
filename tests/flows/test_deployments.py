"""prefect.yaml names flows that exist, with parameters that they take."""

import importlib
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Template
from prefect import Flow
from prefect.utilities.schema_tools.validation import ValidationError, validate

from charter.config import Config, load_config, read_override
from flows.cockpit.settings import GPU_QUEUE, POOL
from flows.notify import CHANGED, look

DEPLOYMENTS = yaml.safe_load(Path("prefect.yaml").read_text())["deployments"]


def flow_of(deployment: dict[str, Any]) -> Flow[..., Any]:
    path, _, name = deployment["entrypoint"].partition(":")
    flow = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)
    assert isinstance(flow, Flow)
    return flow


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_each_deployment_can_be_registered_and_run(deployment: dict[str, Any]) -> None:
    given = [deployment["parameters"], *(schedule.get("parameters", {}) for schedule in deployment["schedules"])]
    for parameters in given:
        assert parameters.keys() <= flow_of(deployment).parameters.properties.keys()
        if "config" in parameters:
            assert Config.model_validate(parameters["config"]).constitution.is_file()
    assert deployment["description"] and deployment["tags"]
    assert all(schedule["active"] is False for schedule in deployment["schedules"])  # they cost money


def test_what_runs_by_the_clock() -> None:
    found = {
        deployment["name"]: [(one["slug"], one["cron"]) for one in deployment["schedules"]]
        for deployment in DEPLOYMENTS
    }
    assert {name: schedules for name, schedules in found.items() if schedules} == {
        "align": [("nightly", "0 2 * * *")],
        "redteam": [("weekly", "0 4 * * 0")],
        "monitor": [("hourly", "0 * * * *")],
    }


def test_the_weekly_search_takes_the_model_and_the_failures_of_the_nightly_run() -> None:
    named = {deployment["name"]: deployment for deployment in DEPLOYMENTS}
    nightly = Config.model_validate(named["align"]["parameters"]["config"])
    (weekly,) = named["redteam"]["schedules"]
    config = Config.model_validate(weekly["parameters"]["config"])
    assert Path(weekly["parameters"]["run"]) == nightly.run_folder
    assert (Path(config.model), weekly["parameters"]["base"]) == (nightly.run_folder / "dpo", nightly.model)
    assert config.evaluation.grader == "oracle"


def test_align_is_registered_with_the_settings_of_the_demo() -> None:
    (align,) = [deployment for deployment in DEPLOYMENTS if deployment["name"] == "align"]
    registered = Config.model_validate(align["parameters"]["config"])
    assert registered.model_copy(update={"name": "demo"}) == load_config(Path("configs/demo.yaml"))


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_the_form_has_titles_descriptions_and_choices(deployment: dict[str, Any]) -> None:
    definitions = flow_of(deployment).parameters.definitions
    assert {"Config", "Generation", "Training", "Gate"} <= set(definitions)
    generation = definitions["Generation"]["properties"]
    assert generation["revise"]["enum"] == ["flagged", "always"]
    assert generation["max_tokens"]["description"].startswith("The longest answer")


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_every_field_of_the_form_has_a_title_and_says_what_it_is_in_unbroken_lines(deployment: dict[str, Any]) -> None:
    form = flow_of(deployment).parameters
    sections = {"": {"properties": form.properties}, **form.definitions}
    fields = {
        f"{section}.{name}": {key: sections[other][key] for other in referred(field) for key in sections[other]} | field
        for section, values in sections.items()
        for name, field in values.get("properties", {}).items()
    }
    assert len(fields) > 200
    assert [name for name, field in fields.items() if not field.get("title") or not field.get("description")] == []
    assert [name for name, field in fields.items() if "\n" in field["description"].replace("\n\n", "")] == []


def referred(field: dict[str, Any]) -> list[str]:
    """The sections that a field is made of."""
    return [one["$ref"].rpartition("/")[2] for one in (field, *field.get("allOf", ())) if "$ref" in one]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_one_run_at_a_time_has_the_gpu(deployment: dict[str, Any]) -> None:
    assert deployment["work_pool"] == {"name": POOL, "work_queue_name": GPU_QUEUE}
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_each_is_a_command_that_says_what_it_takes(deployment: dict[str, Any], prefect_home: Path) -> None:
    name = deployment["name"].removeprefix("constitution-")
    environment = {**os.environ, "PREFECT_HOME": str(prefect_home)}
    command = [sys.executable, "-m", "charter", name, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: python -m charter {name} ")
    _, _, example = done.stdout.partition("Example: ")
    others = set(deployment["parameters"]) - {"config"}
    assert [name for name in others if f"{name}=VALUE:" not in done.stdout] == []
    config, *overrides = shlex.split(example.partition("\n\n")[0])[2:]
    given = dict(map(read_override, overrides))
    load_config(Path(config), {name: value for name, value in given.items() if name not in others})


def test_a_changed_constitution_fills_in_the_form_of_align() -> None:
    (align,) = [one for one in DEPLOYMENTS if one["name"] == "align"]
    (trigger,) = align["triggers"]
    assert (trigger["enabled"], trigger["expect"]) == (True, [CHANGED])
    event = look(Path("constitutions/harmless.md").resolve()).event()
    filled = {
        name: Template(value).render(event=event) if "{{" in str(value) else value
        for name, value in trigger["parameters"]["config"].items()
    }
    config = Config.model_validate(filled)
    assert config.constitution == Path("constitutions/harmless.md")
    assert config.name == f"harmless-{event.payload['hash'][:8]}"


def test_former_names_of_settings_pass_the_check_of_the_server() -> None:
    (align,) = [deployment for deployment in DEPLOYMENTS if deployment["name"] == "align"]
    schema = flow_of(align).parameters.model_dump_for_openapi()
    validate({"config": {"pairs": {"n": 6}, "redteam": {"seeds": "sandbox"}}}, schema, raise_on_error=True)
    with pytest.raises(ValidationError, match=r"config\.pairs"):
        validate({"config": {"pairs": {"nn": 6}}}, schema, raise_on_error=True)
