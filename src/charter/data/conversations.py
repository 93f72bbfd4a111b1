"""Conversations out of a column's value: text, a list of messages, or an hh-rlhf transcript.

A transcript is a string of paragraphs that begin with ``Human:`` or ``Assistant:``. Whatever the form,
the prompt is every turn up to and including the user's last one: a dialogue is never cut before it.
"""

import re

from charter.core.messages import Message, Messages, Role, user

_TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
_ROLES: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}


class Unusable(Exception):
    """A value that holds no prompt; `reason` is countable, the message says what it holds."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def is_blank(value: object) -> bool:
    """Whether a column's value is missing, empty or white space."""
    return value is None or value == [] or (isinstance(value, str) and not value.strip())


def is_transcript(text: object) -> bool:
    """Whether `text` begins with a turn of either side."""
    return isinstance(text, str) and _TURN.match(text.lstrip("\n")) is not None


def parse_transcript(text: str) -> list[Message]:
    """Every turn of a transcript; an empty list if it does not begin with one.

    A turn begins only where a paragraph begins with its name, so colons inside a turn never cut
    it. Two turns of the same side in a row (about 1 in 300 dialogues of hh-rlhf) are one turn of
    two paragraphs, because chat templates want the sides to alternate; empty turns are left out.
    """
    head, *parts = _TURN.split(text.lstrip("\n"))
    if head.strip():
        return []
    turns: list[Message] = []
    for name, content in zip(parts[::2], parts[1::2], strict=True):
        role, words = _ROLES[name], content.strip()
        if not words:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += f"\n\n{words}"
        else:
            turns.append({"role": role, "content": words})
    return turns


def gist(messages: Messages) -> str:
    """What makes two conversations the same: their words, whatever their case and spacing."""
    return "\0".join(f"{m['role']} {' '.join(m['content'].casefold().split())}" for m in messages)


def prompt_of(turns: list[Message]) -> list[Message]:
    """All turns up to and including the user's last one; empty if the user never speaks."""
    last = max((i for i, turn in enumerate(turns) if turn["role"] == "user"), default=-1)
    return turns[: last + 1]


def read_transcript(value: object) -> list[Message]:
    """The prompt of a transcript.

    Raises:
        Unusable: empty, or not a transcript.
    """
    if is_blank(value):
        raise Unusable("empty-prompt", "no prompt in this row")
    messages = prompt_of(parse_transcript(_unicode(value))) if isinstance(value, str) else []
    if not messages:
        raise Unusable("malformed-transcript", f"no turn of Human: at the start of a paragraph: {str(value)[:80]!r}")
    return messages


def read_conversation(value: object) -> list[Message]:
    """The prompt in a column: text, or a list of messages.

    Raises:
        Unusable: empty, or neither of them.
    """
    if is_blank(value):
        raise Unusable("empty-prompt", "no prompt in this row")
    if isinstance(value, str):
        return [user(_unicode(value).strip())]
    if not isinstance(value, list):
        raise Unusable("malformed-prompt", f"a {type(value).__name__}; a prompt is text or a list of messages")
    messages = prompt_of([_message(turn) for turn in value])
    if not messages:
        raise Unusable("malformed-prompt", "no turn of the user in this conversation")
    return messages


def _message(turn: object) -> Message:
    roles = ("system", "user", "assistant")
    if not isinstance(turn, dict) or turn.get("role") not in roles or not isinstance(turn.get("content"), str):
        raise Unusable(
            "malformed-prompt", f"a turn must be a role ({', '.join(roles)}) and a content: {str(turn)[:120]}"
        )
    if not turn["content"].strip():
        raise Unusable("empty-prompt", f"an empty turn of the {turn['role']}")
    return {"role": turn["role"], "content": _unicode(turn["content"])}


def _unicode(text: str) -> str:
    """The text itself; JSON can hold halves of characters, which no file or model takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Unusable("malformed-prompt", f"half a character at position {error.start}") from error
    return text
