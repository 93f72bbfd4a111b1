"""Constitutions: Markdown in, principles with stable ids and hashes out."""

from charter.constitution.model import Constitution, Example, Principle, Turn, ids_in, join
from charter.constitution.parse import load_constitution, parse_constitution
from charter.constitution.selection import draw, eligible, select

__all__ = [
    "Constitution",
    "Example",
    "Principle",
    "Turn",
    "draw",
    "eligible",
    "ids_in",
    "join",
    "load_constitution",
    "parse_constitution",
    "select",
]
