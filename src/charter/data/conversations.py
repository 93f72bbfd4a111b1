"""Conversations from a column's value: text, a list of messages, or an hh-rlhf transcript; and their hashes.

A transcript is a string of paragraphs that begin with ``Human:`` or ``Assistant:``. In every form, the prompt is all
turns up to and including the user's last one: a dialogue is never cut earlier.
"""

import hashlib
import json
import re

from charter.core.messages import Message, Messages, Role, user

_TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
_ROLES: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}


class UnusableRow(Exception):
    """A value that holds no prompt; `reason` is short and countable, the message says what it holds instead."""

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

    A turn begins only where a paragraph begins with its name, so colons inside a turn never split it. Two turns of the
    same side in a row (about 1 in 300 dialogues of hh-rlhf) become one turn of two paragraphs, because chat templates
    want the sides to alternate. Empty turns are left out.
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


def read_transcript(value: object) -> list[Message]:
    """The prompt of a transcript.

    Raises:
        UnusableRow: empty, or not a transcript.
    """
    if is_blank(value):
        raise UnusableRow("empty-prompt", "no prompt in this row")
    messages = _prompt_of(parse_transcript(_require_unicode(value))) if isinstance(value, str) else []
    if not messages:
        raise UnusableRow("malformed-transcript", f"no turn of Human: at the start of a paragraph: {str(value)[:80]!r}")
    return messages


def read_conversation(value: object) -> list[Message]:
    """The prompt in a column: text, or a list of messages.

    Raises:
        UnusableRow: empty, or neither of them.
    """
    if is_blank(value):
        raise UnusableRow("empty-prompt", "no prompt in this row")
    if isinstance(value, str):
        return [user(_require_unicode(value).strip())]
    if not isinstance(value, list):
        raise UnusableRow("malformed-prompt", f"a {type(value).__name__}; a prompt is text or a list of messages")
    messages = _prompt_of([_read_message(turn) for turn in value])
    if not messages:
        raise UnusableRow("malformed-prompt", "no turn of the user in this conversation")
    return messages


def normalized_text(messages: Messages) -> str:
    """A conversation's roles and words without case and spacing; conversations are the same where this is equal."""
    return "\0".join(f"{m['role']} {' '.join(m['content'].casefold().split())}" for m in messages)


def text_digest(text: str) -> int:
    """64 bits of a text's hash."""
    # surrogatepass: what is wrong with an unusable row can contain the half character that makes it unusable
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def content_digest(messages: Messages) -> int:
    """64 bits of the hash of a conversation's roles and words."""
    return text_digest(json.dumps([[m["role"], m["content"]] for m in messages], ensure_ascii=False))


def content_id(messages: Messages) -> str:
    """A conversation's id: 16 hexadecimal digits of the hash of its roles and words."""
    return f"{content_digest(messages):016x}"


def prompt_group(prompt: Messages) -> int:
    """A number of 64 bits, the same for conversations of the same words, whatever their case and spacing."""
    # The prefix makes this hash independent of the one that divides prompts between SFT and DPO: otherwise all rows
    # of the test side would come from one of them.
    return text_digest("split\0" + normalized_text(prompt))


def in_test(prompt: Messages, share: float) -> bool:
    """Whether a prompt belongs to the test side of a split; in the long run the fraction `share` of all prompts does.

    The words of the prompt alone decide, so no prompt is on both sides, and rows that are added later move none of the
    earlier ones. Prompts of nearly the same words are different prompts: `prompts.near_duplicates` leaves all but one
    of them out of a run.
    """
    return prompt_group(prompt) < share * 2**64


def _prompt_of(turns: list[Message]) -> list[Message]:
    """All turns up to and including the user's last one; empty if there is no turn of the user."""
    last = max((i for i, turn in enumerate(turns) if turn["role"] == "user"), default=-1)
    return turns[: last + 1]


def _read_message(turn: object) -> Message:
    roles = ("system", "user", "assistant")
    if not isinstance(turn, dict) or turn.get("role") not in roles or not isinstance(turn.get("content"), str):
        raise UnusableRow(
            "malformed-prompt", f"a turn must be a role ({', '.join(roles)}) and a content: {str(turn)[:120]}"
        )
    if not turn["content"].strip():
        raise UnusableRow("empty-prompt", f"an empty turn of the {turn['role']}")
    return {"role": turn["role"], "content": _require_unicode(turn["content"])}


def _require_unicode(text: str) -> str:
    """The text itself, if it can be encoded: JSON can hold halves of characters, which no file or model accepts."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UnusableRow("malformed-prompt", f"half a character at position {error.start}") from error
    return text
