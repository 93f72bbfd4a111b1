"""The dotted keys of the configuration, such as ``prompts.n``: which exist, and what may be given for each."""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from inspect import isclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from charter.config.root import Config
from charter.config.section import Section


@dataclass(frozen=True)
class Setting:
    """One key of the configuration, which is a value or a section.

    Attributes:
        key: dotted, as on a command line.
        field: as pydantic describes it.
        section: the class that declares it.
        default: its value when nothing is given; None for a key of a list's items.
        items: the class that declares the keys below it, where it is a section or a list of sections.
        is_overridable: whether it can be given on a command line; keys of a list's items cannot.
    """

    key: str
    field: FieldInfo
    section: type[Section]
    default: Any
    items: type[Section] | None
    is_overridable: bool

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition(".")[2]

    @property
    def is_section(self) -> bool:
        """Whether it only groups other keys."""
        return isinstance(self.default, Section)

    @property
    def is_advanced(self) -> bool:
        """Whether most users never change it."""
        return self.name.replace("-", "_") in self.section.advanced

    @property
    def schema(self) -> dict[str, Any]:
        """Its JSON schema."""
        properties: dict[str, dict[str, Any]] = self.section.model_json_schema()["properties"]
        return properties[self.name]


def list_settings() -> Iterator[Setting]:
    """Every key of the configuration, sections before their keys, in the order of the form."""
    yield from _settings_of(Config, Config(), "")


def _settings_of(section: type[Section], defaults: Section | None, prefix: str) -> Iterator[Setting]:
    """The keys of a section; `defaults` is None for the items of a list."""
    for name in section.fields_in_order():
        field = section.model_fields[name]
        default = getattr(defaults, name) if defaults else field.default
        if default is PydanticUndefined:
            default = None
        inner = [*_parts(field.annotation), type_inside(field.annotation, "0")]  # a section, or a list of sections
        items = next((part for part in inner if isclass(part) and issubclass(part, Section)), None)
        key = f"{prefix}{field.alias or name}"
        yield Setting(key, field, section, default, items, is_overridable=defaults is not None)
        if items is not None:
            yield from _settings_of(items, default if isinstance(default, Section) else None, f"{key}.")


def nearest_keys(key: str) -> list[str]:
    """At most three keys that may have been meant by one that does not exist, the likeliest first."""
    keys = [setting.key for setting in list_settings()]
    last = key.rpartition(".")[2]
    same_name = [other for other in keys if other.rpartition(".")[2] == last]
    return list(dict.fromkeys([*same_name, *get_close_matches(key, keys, 3)]))[:3]


def spellings(annotation: Any, key: str) -> set[str]:
    """All names of the field that `key` names in a section of this type: its own, that in YAML, and former ones."""
    for part in _parts(annotation):
        if isclass(part) and issubclass(part, Section):
            for name, field in part.model_fields.items():
                former = {old for old, new in part.renamed.items() if new == name}
                if key in (names := {name, field.alias or name, *former}):
                    return names
    return {key}


def type_inside(annotation: Any, key: str) -> Any:
    """The type of a section's field, or of a list's or mapping's items; None if `key` is not part of it."""
    for part in _parts(annotation):
        if isclass(part) and issubclass(part, Section):
            names = spellings(part, key)
            return next((field.annotation for name, field in part.model_fields.items() if name in names), None)
        if get_origin(part) is tuple:
            return get_args(part)[0]
        if get_origin(part) is dict:
            return get_args(part)[1]
    return None


def is_text(annotation: Any, text: str) -> bool:
    """Whether a field of this type wants `text` as it was written, and not as the number or date that YAML reads."""
    parts = _parts(annotation)
    if any(get_origin(part) is Literal and text in get_args(part) for part in parts):
        return True
    return any(part in (str, Path) for part in parts) and not any(part in (int, float, bool) for part in parts)


def _parts(annotation: Any) -> list[Any]:
    """The members of a union, without annotations."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _parts(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [part for member in get_args(annotation) for part in _parts(member)]
    return [annotation]
