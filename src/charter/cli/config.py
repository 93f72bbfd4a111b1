"""The commands ``charter config show``, ``explain`` and ``schema``: what can be set, and what a file sets."""

import re
from collections.abc import Sequence
from pathlib import Path
from textwrap import indent, wrap
from typing import Annotated, Any

import typer
import yaml

from charter.cli.output import AsJson, print_json
from charter.config import Config, Section, load_config, read_override
from charter.config.keys import Setting, list_settings, nearest_keys
from charter.core.errors import ConfigError

EDITOR_LINE = "# yaml-language-server: $schema=charter.schema.json"
_WIDTH = 100
_SECRET_OPTION = re.compile(r"--?[\w-]*(key|token|password|secret)", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"((?:key|token|password|secret)=)[^\s&,]+", re.IGNORECASE)

app = typer.Typer(no_args_is_help=True, help="Show, explain and complete the settings of a configuration.")


@app.command()
def show(
    config: Annotated[Path, typer.Argument(help="A YAML file, such as configs/demo.yaml.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings to change, such as prompts.n=50.")] = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only the settings that differ from the default.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print every setting of a run as YAML; those at their default are marked. Secrets are masked."""
    resolved = load_config(config, dict(map(read_override, overrides or ())))
    if as_json:
        values, defaults = (one.model_dump(mode="json", by_alias=True) for one in (resolved, Config()))
        print_json(mask_secrets(_changes(values, defaults) if changed else values))
    else:
        typer.echo("\n".join(config_lines(resolved, Config(), changed)) or "# every setting has its default")


def _changes(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The values that differ from the defaults, section by section."""
    changed = dict[str, Any]()
    for name, value in values.items():
        default = defaults.get(name)
        if isinstance(value, dict) and isinstance(default, dict):
            value, default = _changes(value, default), {}
        if value != default:
            changed[name] = value
    return changed


@app.command()
def explain(
    key: Annotated[str, typer.Argument(help="A setting or a section, such as judge.kind or training.dpo.")],
    as_json: AsJson = False,
) -> None:
    """Say what a setting does, what it accepts and its default; for a section, what can be set in it."""
    settings = list(list_settings())
    # Hyphens as well: people write keys as they write options.
    setting = next((one for one in settings if one.key.replace("-", "_") == key.replace("-", "_")), None)
    if setting is None:
        meant = ", ".join(nearest_keys(key)) or "see `charter config show CONFIG` for all of them"
        raise ConfigError(f"setting '{key}': there is no such setting. Did you mean: {meant}?")
    depth = setting.key.count(".") + 1
    inner = [one for one in settings if one.key.startswith(f"{setting.key}.") and one.key.count(".") == depth]
    if as_json:
        described = {"key": setting.key, "keys": [one.key for one in inner], **setting.schema}
        print_json(described)
    else:
        typer.echo("\n".join(explanation(setting, inner)))


@app.command(
    # \b keeps the line in one piece, so that it can be copied
    epilog=f"Save it as charter.schema.json and begin your file with this line:\n\n\b\n{EDITOR_LINE}"
)
def schema() -> None:
    """Print the JSON schema of the configuration, with which editors complete and check the YAML file."""
    described = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    print_json(described)


def config_lines(values: Section, defaults: Section, only_changed: bool) -> list[str]:
    """A section as lines of YAML in the order of the form; without `only_changed`, defaults are marked by a comment."""
    lines = list[str]()
    for name in values.fields_in_order():
        key = type(values).model_fields[name].alias or name
        value, default = getattr(values, name), getattr(defaults, name)
        # Sections too: one with defaults alone is left out.
        if only_changed and value == default:
            continue
        if isinstance(value, Section):
            lines += [f"{key}:", *(f"  {line}" for line in config_lines(value, default, only_changed))]
        else:
            plain = mask_secrets(values.model_dump(mode="json", by_alias=True, include={name})[key])
            lines.append(f"{key}: {_one_line(plain)}" + ("  # default" if value == default else ""))
    return lines


def mask_secrets(value: Any) -> Any:
    """The value without what looks like a secret, such as a token among the arguments of a server."""
    if isinstance(value, dict):
        return {key: mask_secrets(inner) for key, inner in value.items()}
    if isinstance(value, list):
        # An argument and its value are two items of a list: --api-key, SECRET.
        before: Sequence[Any] = ["", *value]
        return [
            "***" if isinstance(option, str) and _SECRET_OPTION.fullmatch(option) else mask_secrets(inner)
            for option, inner in zip(before, value, strict=False)
        ]
    return _SECRET_VALUE.sub(r"\1***", value) if isinstance(value, str) else value


def explanation(setting: Setting, inner: Sequence[Setting]) -> list[str]:
    """What there is to know about a setting, or a section with the settings in it."""
    described = setting.schema
    lines = [setting.key, indent("\n".join(wrap(described["description"], _WIDTH - 2)), "  "), ""]
    if setting.is_section:
        lines += _key_lines(setting.key, inner)
    else:
        default = "required" if setting.field.is_required() else _one_line(described.get("default"))
        lines += [
            f"  type     {accepted(described)}",
            f"  default  {default}",
            f"  example  {example(setting)}",
        ]
        if inner:
            lines += ["", "  Each item has:", *_key_lines(setting.key, inner)]
    return lines


def accepted(schema: dict[str, Any]) -> str:
    """What a JSON schema accepts, in words."""
    # An optional setting is anyOf its type and null.
    if "anyOf" in schema:
        return " or ".join(accepted(one) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return "one of " + ", ".join(map(str, schema.get("enum", [schema.get("const")])))
    match schema.get("type"):
        case "null":
            return "empty (null)"
        case "boolean":
            return "true or false"
        case "integer" | "number" as kind:
            bounds = {
                "minimum": "at least {}", "exclusiveMinimum": "over {}", "maximum": "at most {}",
                "exclusiveMaximum": "under {}",
            }  # fmt: skip
            limits = [words.format(f"{schema[name]:g}") for name, words in bounds.items() if name in schema]
            return ", ".join([{"integer": "a whole number", "number": "a number"}[kind], *limits])
        case "string":
            return "a path" if schema.get("format") == "path" else "text"
        case "array":
            return f"a list, each item {accepted(schema['items'])}"
        case "object":
            names = schema.get("propertyNames", {}).get("enum")
            return f"a mapping from {', '.join(names) if names else 'names'} to text"
    return "a section"


def _key_lines(prefix: str, inner: Sequence[Setting]) -> list[str]:
    """A section's keys, each with the first sentence of its description."""
    lines = list[str]()
    for one in inner:
        sentence, dot, _ = one.schema["description"].partition(". ")
        mark = " (advanced)" if one.is_advanced else ""
        text = f"{one.key.removeprefix(prefix + '.')}{mark}: {sentence}{dot.strip()}"
        lines += wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="      ")
    return lines


def example(setting: Setting) -> str:
    """A line that sets it: an override for the command line, or YAML for a key of a list's items."""
    if setting.items is not None:
        fields = setting.items.model_fields.items()
        value: Any = [{name: "TEXT" for name, field in fields if field.is_required()}]
    else:
        value = example_value(setting.schema, setting.default)
    *_, last = setting.key.split(".")
    # A key within a list's item has no name on the command line.
    if not setting.is_overridable:
        return f"- {{{last}: {_one_line(value)}}}"
    override = f"{setting.key}={_one_line(value)}"
    # In quotation marks where a shell would split it or expand it.
    return f"'{override}'" if re.search(r"[\s\[{]", override) else override


def example_value(schema: dict[str, Any], default: Any) -> Any:
    """A value that the schema accepts; another one than the default where the choices are known."""
    for one in schema.get("anyOf", [schema]):
        if "enum" in one:
            return next(choice for choice in one["enum"] if choice != default)
        # Another value than the default: an example that changes nothing explains nothing.
        if isinstance(default, bool) or one.get("type") == "boolean":
            return not default
        if isinstance(default, str | int | float | Path):
            return str(default) if isinstance(default, Path) else default
        match one.get("type"):
            case "integer":
                return max(100, one.get("minimum", 0))
            case "number":
                return one["maximum"] / 2 if "maximum" in one else one.get("exclusiveMinimum", 0) + 1
            case "string":
                return "PATH" if one.get("format") == "path" else "TEXT"
            case "array":
                return [example_value(one["items"], None)]
            case "object" if "$ref" not in one:
                return {next(iter(one.get("propertyNames", {}).get("enum", ["NAME"]))): "TEXT"}
    return {}


def _one_line(value: Any) -> str:
    """A value as YAML that fits after a key."""
    # PyYAML ends a document that is a single value with "...", and would wrap a long line.
    return yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True).removesuffix("...\n").strip()
