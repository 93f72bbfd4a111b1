"""prefect.yaml names flows that exist, with parameters that they take."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Template
from prefect import Flow

from charter.config import Config, load_config
from flows.cockpit.settings import GPU_QUEUE, POOL
from flows.notify import CHANGED, look

DEPLOYMENTS = yaml.safe_load(Path("prefect.yaml").read_text())["deployments"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_each_deployment_can_be_registered_and_run(deployment: dict[str, Any]) -> None:
    path, _, name = deployment["entrypoint"].partition(":")
    flow = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)
    assert isinstance(flow, Flow)
    config = Config.model_validate(deployment["parameters"]["config"])
    assert config.constitution.is_file()
    assert deployment["description"] and deployment["tags"]
    assert all(schedule["active"] is False for schedule in deployment["schedules"])  # they cost money


def test_align_is_registered_with_the_settings_of_the_demo() -> None:
    (align,) = [deployment for deployment in DEPLOYMENTS if deployment["name"] == "align"]
    registered = Config.model_validate(align["parameters"]["config"])
    assert registered.model_copy(update={"name": "demo"}) == load_config(Path("configs/demo.yaml"))


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_the_form_has_titles_descriptions_and_choices(deployment: dict[str, Any]) -> None:
    path, _, name = deployment["entrypoint"].partition(":")
    flow = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)
    definitions = flow.parameters.definitions
    assert {"Config", "Generation", "Training", "Gate"} <= set(definitions)
    generation = definitions["Generation"]["properties"]
    assert generation["revise"]["enum"] == ["flagged", "always"]
    assert generation["max_tokens"]["description"].startswith("The longest answer")


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_one_run_at_a_time_has_the_gpu(deployment: dict[str, Any]) -> None:
    assert deployment["work_pool"] == {"name": POOL, "work_queue_name": GPU_QUEUE}
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_each_is_a_command_that_says_what_it_takes(deployment: dict[str, Any], prefect_home: Path) -> None:
    module = deployment["entrypoint"].partition(":")[0].removesuffix(".py").replace("/", ".")
    environment = {**os.environ, "PREFECT_HOME": str(prefect_home)}
    command = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    assert "a YAML file, such as" in done.stdout
    others = set(deployment["parameters"]) - {"config"}
    assert [name for name in others if f"{name}:" not in done.stdout] == []


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
