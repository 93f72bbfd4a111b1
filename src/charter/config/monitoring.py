"""How a served model is watched."""

from typing import Annotated

from pydantic import Field

from charter.config.section import Count, Section


class Monitor(Section):
    """What each probe of `flows.monitor` asks, and how sure it must be before it speaks.

    How much worse than the accepted model is no drift yet stands in `gate.against_accepted`.
    """

    fixed: Count = 40
    """Requests of the accepted evaluation, the same in every probe; half of them are harmful."""
    fresh: Count = 60
    """Requests drawn anew for every probe, from where the accepted evaluation took its own; mixed likewise."""
    alpha: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.01
    """The chance that a model that did not change is ever said to have, over all probes together, however many."""
