"""Constitutions: Markdown in, principles with stable ids and hashes out."""

from charter.constitution.kept import keep_constitution, kept_constitution_path, load_kept_constitution
from charter.constitution.model import Constitution, Example, Principle, Turn, ids_in, join_principles
from charter.constitution.parse import load_constitution, parse_constitution
from charter.constitution.selection import draw_principles, eligible, select

__all__ = [
    "Constitution",
    "Example",
    "Principle",
    "Turn",
    "draw_principles",
    "eligible",
    "ids_in",
    "join_principles",
    "keep_constitution",
    "kept_constitution_path",
    "load_constitution",
    "load_kept_constitution",
    "parse_constitution",
    "select",
]
