"""Constitutions: Markdown in, principles with stable ids and hashes out."""

from charter.constitution.model import Constitution, Example, Principle, Turn
from charter.constitution.parse import load_constitution, parse_constitution
from charter.constitution.selection import Selection, select

__all__ = [
    "Constitution",
    "Example",
    "Principle",
    "Selection",
    "Turn",
    "load_constitution",
    "parse_constitution",
    "select",
]
