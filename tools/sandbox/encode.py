"""Lessons as token rows: what branches share stands once, and each branch sees only itself and the trunk."""

from typing import NamedTuple

from transformers import PreTrainedTokenizerFast

from tools.sandbox.lesson import Branch, Lesson
from tools.sandbox.tokenizer import END, ROLES

DECISION_WEIGHT = 12.0
LATE_WEIGHT = 8.0  # of what goes wrong last: a principle's scope under a long answer, and which sentence comes next
OPENING_WEIGHT = 4.0  # whether an answer helps or declines shows in its first word, of which several are right


class Row(NamedTuple):
    """One lesson in tokens; all lists have the row's length.

    Attributes:
        ids: token ids.
        positions: each token's position in its own conversation.
        branches: 0 for the trunk that all branches share, else the branch's number.
        targets: (index of the token before, target id, weight, name of the decision or "").
    """

    ids: list[int]
    positions: list[int]
    branches: list[int]
    targets: list[tuple[int, int, float, str]]


class _Token(NamedTuple):
    id: int
    weight: float = 0.0
    name: str = ""
    other: int | None = None


def encode_lesson(lesson: Lesson, tokenizer: PreTrainedTokenizerFast, late: float = 1.0) -> list[Row]:
    """Rows of a lesson: one tree where branches share much, else a row for each branch.

    `late` is the weight of what a principle is about and of the words with which a judge's sentences begin.
    """
    branches = [_tokens(branch, tokenizer, late) for branch in lesson]
    shared = _common(branches)
    if len(branches) > 1 and shared * len(branches) > sum(map(len, branches)) / 4:
        return [_tree(branches, shared)]
    later = [[t._replace(weight=0.0) for t in branch[:shared]] + branch[shared:] for branch in branches[1:]]
    return [_tree([branch], 0) for branch in (branches[0], *later)]


def _tree(branches: list[list[_Token]], shared: int) -> Row:
    row = Row([], [], [], [])
    for position, token in enumerate(branches[0][:shared]):
        _put(row, token, 0, position, position - 1)
    for number, branch in enumerate(branches, start=1):
        for position, token in enumerate(branch[shared:], start=shared):
            _put(row, token, number, position, shared - 1 if position == shared else len(row.ids) - 1)
    return row


def _put(row: Row, token: _Token, branch: int, position: int, before: int) -> None:
    if token.weight and token.other is not None:
        row.targets.extend((before, id_, token.weight / 2, "") for id_ in (token.id, token.other))
    elif token.weight:
        row.targets.append((before, token.id, token.weight, token.name))
    row.ids.append(token.id)
    row.positions.append(position)
    row.branches.append(branch)


def _common(branches: list[list[_Token]]) -> int:
    for i, tokens in enumerate(zip(*branches, strict=False)):
        if any(token != tokens[0] for token in tokens):
            return i
    return min(map(len, branches))


def _tokens(branch: Branch, tokenizer: PreTrainedTokenizerFast, late: float) -> list[_Token]:
    special = tokenizer.convert_tokens_to_ids
    tokens = list[_Token]()
    for turn in branch:
        tokens.append(_Token(special(ROLES[turn.role])))
        encoded = tokenizer.backend_tokenizer.encode(turn.content, add_special_tokens=False)  # a third of the time
        for id_, (start, end) in zip(encoded.ids, encoded.offsets, strict=True):
            names = [d.name for d in turn.decisions if start < d.end and end > d.start]
            weight = _weight(names, late) if turn.train else 0.0
            tokens.append(_Token(id_, weight, names[0] if names else ""))
        if turn.alternative is not None:  # the last token is the letter that may as well be the other one
            other = tokenizer.backend_tokenizer.encode(turn.alternative, add_special_tokens=False).ids[-1]
            tokens[-1] = tokens[-1]._replace(other=other)
        tokens.append(_Token(special(END), 1.0 if turn.train else 0.0))
    return tokens


def _weight(names: list[str], late: float) -> float:
    if not names:
        return 1.0
    return {"opening": OPENING_WEIGHT, "scope": late, "form": late}.get(names[0], DECISION_WEIGHT)
