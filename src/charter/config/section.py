"""The base class of every section of the configuration, and the types that its fields share."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from charter.config.addresses import refuse_login

logger = logging.getLogger(__name__)


def _read_integer(value: Any) -> Any:
    # YAML 1.1 reads 1e3 as text, because it wants a dot in a number with an exponent
    if isinstance(value, str) and "e" in value.lower():
        try:
            number = float(value)
        except ValueError:
            return value
        return int(number) if number.is_integer() else value
    return value


def _off_is_none(value: Any) -> Any:
    # YAML 1.1 reads the bare word `off` as false
    return None if value is False or value == "off" else value


ACCEPT_EXPONENT = BeforeValidator(_read_integer)
"""For integers: accept ``1e3``. It comes after the limits, which otherwise would not be part of the JSON schema."""

PositiveInt = Annotated[int, Field(ge=1), ACCEPT_EXPONENT]
NonNegativeInt = Annotated[int, Field(ge=0), ACCEPT_EXPONENT]

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
"""From 0 to 1, both included."""

Threshold = Annotated[Annotated[float, Field(gt=0.0, le=1.0)] | None, BeforeValidator(_off_is_none)]
"""A fraction over 0 from which a check applies; None, or ``off``, turns the check off."""

EnvVarName = Annotated[str, Field(pattern=r"^([A-Za-z_]\w*)?$")]
"""The name of an environment variable; empty for none."""

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
"""A name that is also the name of a file or folder."""

LocalPath = Annotated[Path, AfterValidator(lambda path: Path(os.path.expanduser(path)))]
"""A path on this machine; a leading ``~`` is the home folder."""

PathOrName = Annotated[str, AfterValidator(os.path.expanduser)]
"""A path, as `LocalPath`, or another name such as ``sandbox`` or a hub id."""

ServerAddress = Annotated[str, AfterValidator(refuse_login)]
"""The address of a server, without a login."""


def _arrange_form(schema: dict[str, Any], section: type["Section"]) -> None:
    """Order the fields for the form of Prefect's UI, mark the advanced ones, and unwrap descriptions."""
    properties: dict[str, dict[str, Any]] = schema.get("properties", {})
    for part in (schema, *properties.values()):
        if "description" in part:  # the form breaks lines where the source does
            paragraphs = part["description"].split("\n\n")
            part["description"] = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    order = {
        section.model_fields[name].alias or name: position for position, name in enumerate(section.fields_in_order())
    }
    for name, part in properties.items():
        # the form sorts by this: a database may store the schema with its keys in another order
        part["position"] = order[name]
        if name in section.advanced:
            part["advanced"] = True
            part["title"] = f"{part.get('title') or name.replace('_', ' ').title()} (advanced)"
    schema["properties"] = dict(sorted(properties.items(), key=lambda item: order[item[0]]))
    if section.renamed:
        # Prefect's server checks parameters by this schema, and would refuse a former name
        schema["patternProperties"] = {f"^{former}$": True for former in section.renamed}


class Section(BaseModel):
    """A part of the configuration; unknown keys are refused, so that a typing error is noticed."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        json_schema_extra=_arrange_form,
        hide_input_in_errors=True,  # the value may be a key in the wrong place
    )

    advanced: ClassVar[frozenset[str]] = frozenset()
    """Fields that most users never change; forms and listings show them after the others."""

    renamed: ClassVar[Mapping[str, str]] = {}
    """Former names of fields, each with its present name. They keep working for one version."""

    @classmethod
    def fields_in_order(cls) -> list[str]:
        """The names of the fields as a form shows them: the essential ones first."""
        return sorted(cls.model_fields, key=lambda name: name in cls.advanced)

    @model_validator(mode="before")
    @classmethod
    def _accept_former_names(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not cls.renamed.keys() & values.keys():
            return values
        current = dict(values)
        for former, name in cls.renamed.items():
            if former not in current:
                continue
            if name in current:
                raise ValueError(f"'{former}' is the former name of '{name}'; both are given. Remove '{former}'")
            current[name] = current.pop(former)
            logger.warning(
                "Configuration, section %s: '%s' is now '%s'. The former name stops working in the next version.",
                cls.__name__,
                former,
                name,
            )
        return current
