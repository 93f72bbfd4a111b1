"""Reads a configuration, and refuses a wrong value with the name of its field before anything starts."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from charter.config.whole import Config
from charter.core.errors import ConfigError
from charter.core.yaml import safe_load

_KEYS = (
    " A key stands in no configuration: serving.api_key_env names the environment variable that holds it"
    " (CHARTER_API_KEY if nothing is said), and serving.api_key_block the Secret block."
)


def load_config(path: Path | None, overrides: dict[str, Any] | None = None) -> Config:
    """Read a YAML file, or take the defaults, with dotted overrides such as ``{"prompts.n": 50}`` applied on top.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds a wrong value; the field is named.
    """
    values = _read(path) if path else {}
    for key, value in (overrides or {}).items():
        _set(values, key, value)
    return parse_config(values, str(path or "command line"))


def parse_config(values: dict[str, Any], origin: str = "config") -> Config:
    """Check plain values; `origin` names where they came from in an error.

    Raises:
        ConfigError: a wrong value, with the field's dotted name.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        lines = [_line(one) for one in error.errors()]
        raise ConfigError(f"config '{origin}': {len(lines)} wrong value(s). Correct:\n" + "\n".join(lines)) from error


def _line(error: ErrorDetails) -> str:
    """Field, mistake and value; but not the value of a field that is none, nor of one about keys: it may be a key."""
    field, unknown = ".".join(str(part) for part in error["loc"]), error["type"] == "extra_forbidden"
    got = "" if unknown or "api_key" in field else f" (got {error['input']!r})"
    message = "there is no such setting." if unknown else error["msg"]
    return f"  {field}: {message}{_KEYS if 'api_key' in field else got}"


def read_override(text: str) -> tuple[str, Any]:
    """The dotted name and the value of a setting as on a command line, ``prompts.n=50``.

    Raises:
        ConfigError: it is none.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"override '{text}': not a setting. Write it as section.field=value, such as prompts.n=50.")
    return key, yaml.safe_load(value)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"config '{path}': no such file. Name a YAML file, such as configs/demo.yaml.")
    try:
        values = safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"config '{path}': not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"config '{path}': must hold settings such as 'name: demo', not a {type(values).__name__}.")
    return values


def _set(values: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"override '{dotted}': '{parent}' is a single value, not a section.")
    values[last] = value
