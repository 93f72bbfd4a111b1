"""Reads a configuration, and refuses a wrong value with the name of its field before anything starts."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from charter.config.keys import is_text, nearest_keys, spellings, type_inside
from charter.config.root import Config
from charter.core.errors import ConfigError

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is five times as fast
_TEXT, _NULL, _MERGE = (f"tag:yaml.org,2002:{name}" for name in ("str", "null", "merge"))

_ABOUT_KEYS = (
    " API keys must not appear in the configuration: serving.api_key_env names the environment variable that holds the"
    " key (CHARTER_API_KEY by default), and serving.api_key_block the Secret block."
)


def load_config(path: Path | None, overrides: dict[str, Any] | None = None) -> Config:
    """Read a YAML file, or take the defaults, with dotted overrides such as ``{"prompts.n": 50}`` applied on top.

    Raises:
        ConfigError: the file is missing, is not YAML, gives a key twice, or holds a wrong value; the field is named.
    """
    values = _read_file(path) if path else {}
    for key, value in (overrides or {}).items():
        _override(values, key, value)
    return parse_config(values, str(path or "command line"))


def parse_config(values: dict[str, Any], origin: str = "config") -> Config:
    """Check plain values; `origin` names where they came from in an error.

    Raises:
        ConfigError: a wrong value, with the field's dotted name.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        problems: dict[str, list[str]] = {}
        inputs: dict[str, str] = {}
        for one in error.errors():
            field = _field_of(one["loc"], unknown=one["type"] == "extra_forbidden")
            secret = "api_key" in field
            if one["type"] == "extra_forbidden":
                meant = "" if secret else ", ".join(nearest_keys(field))
                message = "there is no such setting." + (f" Did you mean {meant}?" if meant else "")
            else:
                message = one["msg"]
                # never echo the value of an unknown or key-like field: it may be a secret
                inputs[field] = "" if secret else f" (got {one['input']!r})"
            problems.setdefault(field, []).append(message)
        lines = [
            f"  {field}: {' or '.join(messages)}{_ABOUT_KEYS if 'api_key' in field else inputs.get(field, '')}"
            for field, messages in problems.items()
        ]
        raise ConfigError(f"config '{origin}': {len(lines)} wrong value(s). Correct:\n" + "\n".join(lines)) from error


def read_override(text: str) -> tuple[str, Any]:
    """The dotted key and the value of a setting as on a command line, ``prompts.n=50``.

    The value is YAML, except that a field that holds text gets it as written: ``name=2024``, ``training.watch=off``.

    Raises:
        ConfigError: it has no key, or its value is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"override '{text}': not a setting. Write it as section.field=value, such as prompts.n=50.")
    annotation: Any = Config
    for name in key.split("."):
        annotation = type_inside(annotation, name)
    try:
        return key, _read_yaml(value, annotation, f"override '{key}'")
    except yaml.YAMLError as error:
        raise ConfigError(f"override '{key}': the value is not YAML: {error}. Put it in quotes.") from error


def _read_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"config '{path}': no such file. Name a YAML file, such as configs/demo.yaml.")
    try:
        values = _read_yaml(path.read_text(encoding="utf-8"), Config, f"config '{path}'") or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"config '{path}': not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"config '{path}': must hold settings such as 'name: demo', not a {type(values).__name__}.")
    return values


def _read_yaml(text: str, annotation: Any, origin: str) -> Any:
    """The values of a YAML text for a field of this type."""
    node = yaml.compose(text, _LOADER)
    if node is None:
        return None
    _prepare(node, annotation, origin, set())
    return _LOADER("").construct_document(node)


def _prepare(node: yaml.Node, annotation: Any, origin: str, done: set[int]) -> None:
    """Refuse a key that is given twice, and have YAML read as text what a field wants as text, such as name: 2024."""
    if id(node) in done:  # an alias; following each again could take exponential time
        return
    done.add(id(node))
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag != _MERGE and (first := lines.setdefault(str(key.value), line)) != line:
                raise ConfigError(f"{origin}: '{key.value}' is given twice, in lines {first} and {line}. Remove one.")
            merged = key.tag == _MERGE
            _prepare(value, annotation if merged else type_inside(annotation, str(key.value)), origin, done)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _prepare(item, type_inside(annotation, "0"), origin, done)
    elif node.tag not in (_TEXT, _NULL) and is_text(annotation, node.value):
        node.tag = _TEXT


def _override(values: dict[str, Any], dotted: str, value: Any) -> None:
    """Set one value, in place of one that is given under another spelling of the key."""
    *parents, last = dotted.split(".")
    annotation: Any = Config
    for parent in parents:
        names = spellings(annotation, parent)
        values = values.setdefault(next((name for name in values if name in names), parent), {})
        if not isinstance(values, dict):
            raise ConfigError(f"override '{dotted}': '{parent}' is a single value, not a section.")
        annotation = type_inside(annotation, parent)
    for name in spellings(annotation, last):
        values.pop(name, None)
    values[last] = value


def _field_of(location: tuple[str | int, ...], unknown: bool) -> str:
    """The dotted key of an error, without the names of types that pydantic appends for the members of a union."""
    names = list[str]()
    annotation: Any = Config
    for part in location:
        annotation = type_inside(annotation, str(part))
        if annotation is None and not (unknown and part == location[-1]):
            break
        names.append(str(part))
    return ".".join(names)
