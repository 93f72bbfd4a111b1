"""What one start of a run may spend."""

from typing import Annotated

from pydantic import Field

from charter.config.section import Count, Section


class Budget(Section):
    """What one start of a run may spend at the models' servers; answers from the store are free."""

    calls: Count | None = None
    """Calls asked; no limit when empty."""
    tokens: Count | None = None
    """Tokens of prompts and answers together; calls in flight when it is reached are still finished."""
    minutes: Annotated[float, Field(gt=0)] | None = None
    """Minutes from the start on, after which no call is begun; training that has begun is not cut short."""
