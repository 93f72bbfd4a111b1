"""`charter config`: what can be set, what a file sets, and what an editor completes."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from charter.cli.app import app
from charter.cli.config import EDITOR_LINE, accepted, example
from charter.config import Config, load_config, parse_config, read_override
from charter.config.keys import list_settings
from charter.core.errors import ConfigError

CONFIGS = sorted(Path("configs").glob("*.yaml"))


def charter(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["config", *arguments])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_what_is_shown_is_the_same_configuration(path: Path) -> None:
    shown = charter("show", str(path), "name=2024", "pairs.strategies.best-worst=0.5").stdout
    wanted = load_config(path, {"name": "2024", "pairs.strategies.best-worst": 0.5})
    assert parse_config(yaml.safe_load(shown)) == wanted
    lines = {line.strip() for line in shown.splitlines()}
    assert {"name: '2024'", "best-worst: 0.5", "critique_temperature: 0.0  # default"} <= lines
    assert [line.partition(":")[0] for line in shown.splitlines() if line[0] != " "] == Config.fields_in_order()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_contain_only_what_they_change(path: Path) -> None:
    changed = charter("show", str(path), "--changed")
    assert yaml.safe_load(changed.stdout) == yaml.safe_load(path.read_text())
    assert json.loads(charter("show", str(path), "--changed", "--json").stdout) == yaml.safe_load(path.read_text())


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "serving:\n  base_urls: ['http://models/v1?api_key=sk-1234']\n"
        "  extra_args: [--hf-token, hf_1234, --tokenizer, mine, --ssl-password=s1234, --max-tokens, '9']\n"
    )
    for options in ([], ["--json"], ["--changed"]):
        done = charter("show", str(path), *options)
        assert done.exit_code == 0 and "1234" not in done.stdout
        assert "***" in done.stdout and "mine" in done.stdout and "9" in done.stdout


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("prompts.n", ["How many prompts", "a whole number, at least 1 or empty (null)", "null", "prompts.n=100"]),
        ("judge.kind", ["`choice`: A or B", "`panel`", "a plugin registers", "judge.kind=choice"]),
        ("training.dpo", ["learning_rate: The peak", "save_steps (advanced)", "beta"]),
        ("training.dpo.beta", ["a number, over 0", "0.1"]),
        ("pairs.strategies.best_worst", ["pairs.strategies.best-worst", "a number, at least 0, at most 1"]),
        ("outputs", ["a path", "default  outputs"]),
        ("generation.preface", ["true or false", "generation.preface=true"]),
        ("judge.panel", ["a list", "'judge.panel=[{name: TEXT}]'", "Each item has", "base_urls"]),
        ("judge.panel.name", ["required", "- {name: TEXT}"]),
        ("audit.columns", ["a mapping from prompt, better, worse"]),
    ],
)
def test_a_key_is_explained(key: str, parts: list[str]) -> None:
    done = charter("explain", key)
    assert done.exit_code == 0, done.output
    assert [part for part in parts if part not in " ".join(done.stdout.split()) and part not in done.stdout] == []


def test_each_key_has_a_type_and_an_example_that_is_accepted() -> None:
    for setting in list_settings():
        schema = setting.schema
        assert schema["description"], setting.key
        if not setting.is_section:
            assert accepted(schema) != "a section", setting.key
            if setting.is_overridable:
                assert problem(example(setting).strip("'")) in ("", "in combination"), setting.key


def problem(override: str) -> str:
    """What is wrong with an override: nothing, its type, or what else it needs."""
    key, value = read_override(override)
    try:
        load_config(None, {key: value})
    except ConfigError as error:
        return str(error) if f"  {key}: Input should" in str(error) else "in combination"
    return ""


@pytest.mark.parametrize(
    ("key", "meant"),
    [("beta", "training.dpo.beta"), ("generation.max_token", "generation.max_tokens"), ("zzz", "show")],
)
def test_an_unknown_key_names_the_nearest(key: str, meant: str) -> None:
    done = charter("explain", key)
    assert isinstance(done.exception, ConfigError) and meant in str(done.exception)


def test_an_editor_gets_the_schema() -> None:
    schema: dict[str, Any] = json.loads(charter("schema").stdout)
    assert schema["$defs"]["Judge"]["properties"]["kind"]["description"]
    assert schema["additionalProperties"] is False
    assert EDITOR_LINE in " ".join(charter("schema", "--help").stdout.split())
