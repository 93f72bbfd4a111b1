"""A constitution made from other data, such as imported JSON, as Markdown that reads back as the same constitution."""

import contextlib
import re
from collections.abc import Sequence

from charter.constitution.examples import (
    CRITIQUE,
    CRITIQUE_REQUEST,
    PROMPT,
    RESPONSE,
    REVISION,
    REVISION_REQUEST,
    SYSTEM,
)
from charter.constitution.markdown import VERBATIM, Unclear, blocks, join_blocks
from charter.constitution.model import Constitution, Example

_SIMPLE_YAML = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]*[A-Za-z0-9.]|[A-Za-z0-9]")
_MARKUP = re.compile(r"[\\`*_\[\]<>&{}!~]|#\Z")
_LONGEST_INLINE = 2000


def write_constitution(constitution: Constitution) -> str:
    """The Markdown of a constitution, everything it extends included."""
    settings = {name: getattr(constitution, name) for name in ("name", "version", "description", "language")}
    lines = [f"{name}: {_yaml(value)}" for name, value in settings.items() if value]
    if constitution.tags:
        lines.append(f"tags: [{', '.join(map(_yaml, constitution.tags))}]")
    parts = ["\n".join(["---", *lines, "---"])]
    if constitution.preface:
        parts.append(to_markdown(constitution.preface))
    parts += _examples(constitution.examples)
    for principle in constitution.principles:
        attributes = [f"#{principle.id}", *(f".{tag}" for tag in principle.tags)]
        if principle.weight != 1:
            # 17 digits read back as the same number
            attributes.append(f"weight={principle.weight:{'.17g' if principle.weight % 1 else '.0f'}}")
        # A title is one line, so it cannot be fenced; its marks are escaped.
        title = _MARKUP.sub(r"\\\g<0>", principle.title)
        parts += [f"## {title} {{{' '.join(attributes)}}}", to_markdown(principle.text)]
        requests = {
            "Critique": principle.critique_request,
            "Revision": principle.revision_request,
            "Preference": principle.preference_request,
        }
        for heading, text in requests.items():
            if text is not None:
                parts += [f"### {heading}", to_markdown(text)]
        if principle.checks:
            parts += ["### Check", "\n".join(f"- {check}" for check in principle.checks)]
        parts += _examples(principle.examples)
    return "\n\n".join(parts) + "\n"


def to_markdown(text: str) -> str:
    """Markdown that reads back as exactly `text`: the text itself where Markdown keeps it, else a verbatim fence."""
    # A comment, or space at an end, would be lost in plain Markdown.
    if "<!--" not in text and text == text.strip():
        with contextlib.suppress(Unclear):
            parsed = blocks(text)
            # A paragraph that begins with a bold word could be read as the label of an example's part.
            plain = all(block.kind in ("paragraph", "list", "fence") and not block.label for block in parsed)
            # The parser itself decides whether the text survives, so that writer and reader cannot disagree.
            if plain and join_blocks(parsed) == text:
                return text
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)  # a fence ends at as many backticks as it began with
    return f"{fence}{VERBATIM}\n{text}\n{fence}"


def _examples(examples: Sequence[Example]) -> list[str]:
    if not examples:
        return []
    roles = {"system": SYSTEM, "user": PROMPT, "assistant": RESPONSE}
    cases = []
    for example in examples:
        parts = [
            *((roles[turn.role], turn.content) for turn in example.prompt),
            (RESPONSE, example.response),
            (CRITIQUE_REQUEST, example.critique_request),
            (CRITIQUE, example.critique),
            (REVISION_REQUEST, example.revision_request),
            (REVISION, example.revision),
        ]
        written = [(label, to_markdown(text)) for label, text in parts if text is not None]
        # Only a paragraph can follow its label on the same line; a list or a fence would become part of the paragraph.
        cases.append(
            "\n\n".join(
                f"**{label}** {text}"
                if len(text) < _LONGEST_INLINE and not text.startswith(("```", "- ")) and not text[:1].isdigit()
                else f"**{label}**\n\n{text}"
                for label, text in written
            )
        )
    return ["### Examples", "\n\n---\n\n".join(cases)]


def _yaml(value: str) -> str:
    """A YAML scalar; what YAML could read as something else is written with escapes in double quotes."""
    if _SIMPLE_YAML.fullmatch(value):
        return value
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in value) + '"'
