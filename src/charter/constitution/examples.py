"""Worked examples in a constitution: paragraphs that begin with a bold label, cases parted by a rule."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from charter.constitution.markdown import Block, Unclear, join_blocks
from charter.constitution.model import Example, Turn

PROMPT, RESPONSE, CRITIQUE, REVISION = "Prompt:", "Response:", "Critique:", "Revision:"
SYSTEM, CRITIQUE_REQUEST, REVISION_REQUEST = "System:", "Critique request:", "Revision request:"
_LABELS = {
    label.casefold(): label
    for label in (SYSTEM, PROMPT, RESPONSE, CRITIQUE_REQUEST, CRITIQUE, REVISION_REQUEST, REVISION)
}
_ORDER = "Write **Prompt:**, **Response:**, **Critique:** and **Revision:** in this order, and '---' between examples"


@dataclass
class _Part:
    label: str
    line: int
    blocks: list[Block] = field(default_factory=list)


def parse_examples(line: int, found: Sequence[Block]) -> tuple[Example, ...]:
    """The examples under a heading on `line`.

    Raises:
        Unclear: text before the first label, or labels in another order than prompt, response,
            critique, revision.
    """
    cases = [list(group) for is_rule, group in groupby(found, lambda b: b.kind == "rule") if not is_rule]
    if not cases:
        raise Unclear(line, "empty-section", "'### Examples' is empty", "Write an example or delete the heading")
    return tuple(_example(case) for case in cases)


def _example(found: Sequence[Block]) -> Example:
    parts = _parts(found)
    turns: list[Turn] = []
    at = 0
    if parts[0].label == SYSTEM:
        turns.append(Turn("system", _text(parts[0])))
        at = 1
    labels = [part.label for part in parts]
    while labels[at : at + 3] == [PROMPT, RESPONSE, PROMPT]:
        turns += [Turn("user", _text(parts[at])), Turn("assistant", _text(parts[at + 1]))]
        at += 2
    requests: dict[str, str] = {}
    wanted = [PROMPT, RESPONSE, CRITIQUE, REVISION]
    texts: list[str] = []
    for part in parts[at:]:
        if (
            part.label in (CRITIQUE_REQUEST, REVISION_REQUEST)
            and len(texts) == (2 if part.label == CRITIQUE_REQUEST else 3)
            and part.label not in requests
        ):
            requests[part.label] = _text(part)
        elif len(texts) < 4 and part.label == wanted[len(texts)]:
            texts.append(_text(part))
        else:
            raise Unclear(part.line, "example-order", f"**{part.label}** is not expected here", _ORDER)
    if len(texts) < 4:
        what = f"an example without **{wanted[len(texts)]}**"
        raise Unclear(parts[0].line, "example-incomplete", what, _ORDER)
    prompt, response, critique, revision = texts
    turns.append(Turn("user", prompt))
    return Example(
        tuple(turns), response, critique, revision, requests.get(CRITIQUE_REQUEST), requests.get(REVISION_REQUEST)
    )


def _parts(found: Sequence[Block]) -> list[_Part]:
    parts: list[_Part] = []
    for block in found:
        label = _LABELS.get(block.label.casefold())
        if label:
            parts.append(_Part(label, block.line))
            if block.rest:
                parts[-1].blocks.append(block._replace(text=block.rest))
        elif parts:
            parts[-1].blocks.append(block)
        else:
            raise Unclear(block.line, "example-label", "an example that does not begin with **Prompt:**", _ORDER)
    return parts


def _text(part: _Part) -> str:
    text = join_blocks(part.blocks)
    if not text.strip():
        raise Unclear(part.line, "example-empty", f"**{part.label}** without text", "Write its text after the label")
    return text
