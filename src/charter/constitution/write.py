"""A constitution back to Markdown, such that reading it again gives the same constitution.

This is also how a run keeps the constitution *as used*: what it extends is written out.
"""

import re
from collections.abc import Sequence

from charter.constitution.examples import write_examples
from charter.constitution.markdown import escape, to_markdown
from charter.constitution.model import Constitution, Principle

_SIMPLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]*[A-Za-z0-9.]|[A-Za-z0-9]")


def write_constitution(constitution: Constitution) -> str:
    """The Markdown of a constitution, everything it extends included."""
    blocks = [_front_matter(constitution)]
    if constitution.preface:
        blocks.append(to_markdown(constitution.preface))
    if constitution.examples:
        blocks += ["### Examples", write_examples(constitution.examples)]
    for principle in constitution.principles:
        blocks += _principle(principle)
    return "\n\n".join(blocks) + "\n"


def _front_matter(constitution: Constitution) -> str:
    lines = [f"name: {_quoted(constitution.name)}", f"version: {_quoted(constitution.version)}"]
    if constitution.description:
        lines.append(f"description: {_quoted(constitution.description)}")
    lines.append(f"language: {_quoted(constitution.language)}")
    if constitution.tags:
        lines.append(f"tags: [{', '.join(map(_quoted, constitution.tags))}]")
    return "\n".join(["---", *lines, "---"])


def _principle(principle: Principle) -> Sequence[str]:
    attributes = [f"#{principle.id}", *(f".{tag}" for tag in principle.tags)]
    if principle.weight != 1:
        attributes.append(
            f"weight={principle.weight:.17g}" if principle.weight % 1 else f"weight={principle.weight:.0f}"
        )
    blocks = [f"## {escape(principle.title)} {{{' '.join(attributes)}}}", to_markdown(principle.text)]
    requests = {
        "Critique": principle.critique_request,
        "Revision": principle.revision_request,
        "Preference": principle.preference_request,
    }
    for heading, text in requests.items():
        if text is not None:
            blocks += [f"### {heading}", to_markdown(text)]
    if principle.examples:
        blocks += ["### Examples", write_examples(principle.examples)]
    return blocks


def _quoted(value: str) -> str:
    """A YAML scalar; what YAML could read as something else is written with escapes in double quotes."""
    return value if _SIMPLE.fullmatch(value) else f'"{"".join(map(_escaped, value))}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08x}"
