"""What every part of the configuration is made of."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


def _in_one_line(schema: dict[str, Any]) -> None:
    """Join the lines of each paragraph of descriptions: Prefect's form breaks where a line ends."""
    for part in (schema, *schema.get("properties", {}).values()):
        if "description" in part:
            paragraphs = part["description"].split("\n\n")
            part["description"] = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


class Section(BaseModel):
    """A part of the configuration; unknown keys are refused, so that a typing error is seen."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, json_schema_extra=_in_one_line
    )
