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

    @property
    def text(self) -> str:
        text = join_blocks(self.blocks)
        if not text.strip():
            fix = "Write its text after the label"
            raise Unclear(self.line, "example-empty", f"**{self.label}** without text", fix)
        return text


def parse_examples(line: int, section: Sequence[Block]) -> tuple[Example, ...]:
    """The examples under a heading on `line`.

    Raises:
        Unclear: text before the first label, or labels in another order than prompt, response,
            critique, revision.
    """
    # Rules part the examples; two in a row part nothing.
    cases = [list(group) for is_rule, group in groupby(section, lambda b: b.kind == "rule") if not is_rule]
    if not cases:
        raise Unclear(line, "empty-section", "'### Examples' is empty", "Write an example or delete the heading")
    return tuple(_parse_example(case) for case in cases)


def _parse_example(case: Sequence[Block]) -> Example:
    parts: list[_Part] = []
    for block in case:
        label = _LABELS.get(block.label.casefold())
        if label:
            # what follows the label on its line is the first paragraph of the part
            parts.append(_Part(label, block.line, [block._replace(text=block.rest)] if block.rest else []))
        elif parts:
            parts[-1].blocks.append(block)
        else:
            raise Unclear(block.line, "example-label", "an example that does not begin with **Prompt:**", _ORDER)

    # An optional system message, then earlier turns: every prompt and response that another prompt follows.
    turns: list[Turn] = []
    at = 0
    if parts[0].label == SYSTEM:
        turns.append(Turn("system", parts[0].text))
        at = 1
    labels = [part.label for part in parts]
    while labels[at : at + 3] == [PROMPT, RESPONSE, PROMPT]:
        turns += [Turn("user", parts[at].text), Turn("assistant", parts[at + 1].text)]
        at += 2

    expected = [PROMPT, RESPONSE, CRITIQUE, REVISION]
    texts: list[str] = []
    requests: dict[str, str] = {}
    for part in parts[at:]:
        # a critique request may come before the critique, a revision request before the revision
        follows = {CRITIQUE_REQUEST: 2, REVISION_REQUEST: 3}.get(part.label)
        if follows == len(texts) and part.label not in requests:
            requests[part.label] = part.text
        elif len(texts) < 4 and part.label == expected[len(texts)]:
            texts.append(part.text)
        else:
            raise Unclear(part.line, "example-order", f"**{part.label}** is not expected here", _ORDER)
    # The parts come in order, so the number of texts says which one is missing.
    if len(texts) < 4:
        what = f"an example without **{expected[len(texts)]}**"
        raise Unclear(parts[0].line, "example-incomplete", what, _ORDER)
    prompt, response, critique, revision = texts
    turns.append(Turn("user", prompt))
    return Example(
        tuple(turns), response, critique, revision, requests.get(CRITIQUE_REQUEST), requests.get(REVISION_REQUEST)
    )
