"""What every part of the configuration is made of."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from charter.core.errors import ConfigError

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Variable = Annotated[str, Field(pattern=r"^([A-Za-z_]\w*)?$")]
"""The name of an environment variable; none when empty."""


def refuse_login(url: str) -> str:
    """The address as it is, if no login stands in it: a run's folder, its pages and Prefect show the configuration.

    Raises:
        ConfigError: there is one; the message does not repeat it.
    """
    scheme, separator, rest = url.partition("://")
    _, at, host = rest.partition("/")[0].rpartition("@")
    if separator and at:
        raise ConfigError(
            f"base_url '{scheme}://{host}/…': a login stands in the address, which every run writes into its folder. "
            "Leave it out; a key belongs into the environment variable that `api_key_env` names."
        )
    return url


Address = Annotated[str, AfterValidator(refuse_login)]
"""Of a server, without a login."""


def _in_one_line(schema: dict[str, Any]) -> None:
    """Join the lines of each paragraph of descriptions: Prefect's form breaks where a line ends."""
    for part in (schema, *schema.get("properties", {}).values()):
        if "description" in part:
            paragraphs = part["description"].split("\n\n")
            part["description"] = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


class Section(BaseModel):
    """A part of the configuration; unknown keys are refused, so that a typing error is seen."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        json_schema_extra=_in_one_line,
        hide_input_in_errors=True,  # it may be a key in the wrong place
    )
