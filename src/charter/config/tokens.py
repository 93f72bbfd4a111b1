"""What training changed, token by token."""

from typing import Annotated

from pydantic import Field

from charter.config.section import Count, Section


class Tokens(Section):
    """What training changed token by token, measured after it and shown in the report."""

    pairs: Annotated[int, Field(ge=0)] = 200
    """Preference pairs whose implicit reward is computed, drawn by lot: the report shows those with the largest and the
    smallest margin, and some at random. 0 leaves out everything here."""
    answers: Count = 100
    """Answers to benign held-out requests over which the divergence from the base model is measured."""
