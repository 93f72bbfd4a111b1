"""The principles about helpfulness: a model that only learns to be harmless learns to evade."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from charter.constitution.model import Constitution, Principle
from charter.constitution.parse import load_constitution

TAG = "helpful"
SHIPPED = Path(__file__).with_name("helpful.md")


def helpful_part(constitution: Constitution) -> Constitution:
    """The constitution with only its principles tagged `helpful`; if it has none, with the shipped one on refusals."""
    helpful = tuple(principle for principle in constitution.principles if TAG in principle.tags)
    return replace(constitution, principles=helpful or shipped())


@lru_cache(maxsize=1)
def shipped() -> tuple[Principle, ...]:
    """The shipped principle against needless refusal."""
    return load_constitution(SHIPPED).principles
