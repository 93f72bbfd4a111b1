"""The principles of helpfulness, so that a model that learns to be harmless does not learn to evade."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from charter.constitution.model import Constitution, Principle
from charter.constitution.parse import load_constitution

TAG = "helpful"
SHIPPED = Path(__file__).with_name("helpful.md")


def helpful_part(law: Constitution) -> Constitution:
    """The constitution with its principles tagged `helpful` alone; with a shipped one on refusing, if it has none."""
    found = tuple(principle for principle in law.principles if TAG in principle.tags)
    return replace(law, principles=found or shipped())


@lru_cache(maxsize=1)
def shipped() -> tuple[Principle, ...]:
    """The shipped principle against needless refusal."""
    return load_constitution(SHIPPED).principles
