"""Where people have a say."""

from typing import Annotated

from pydantic import Field

from charter.config.section import Count, Section


class Review(Section):
    """People in the loop: they look at the labels before anything is trained, and sign the verdict."""

    labels: bool = False
    """Ask people about a sample of the pairs before training. A run of a deployment is suspended until they answer."""
    n: Count = 60
    """Pairs in the sample: up to a third on which a panel split, a third of which the judge is least sure, and the rest
    by lot."""
    sign_off: bool = False
    """Ask people to sign a verdict of go. Until somebody has, it is no-go."""
    timeout_hours: Annotated[float, Field(gt=0.0, le=8760.0)] = 72.0
    """How long a suspended run waits, in hours. Without an answer by then it has failed: nothing is trained, and a
    verdict that nobody signed stays no-go."""
