"""prefect.yaml names flows that exist, with parameters that they take."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow

from charter.config import Config

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


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_the_form_has_titles_descriptions_and_choices(deployment: dict[str, Any]) -> None:
    path, _, name = deployment["entrypoint"].partition(":")
    flow = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)
    definitions = flow.parameters.definitions
    assert {"Config", "Generation", "Training", "Gate"} <= set(definitions)
    generation = definitions["Generation"]["properties"]
    assert generation["revise"]["enum"] == ["flagged", "always"]
    assert generation["max_tokens"]["description"].startswith("The longest answer")
