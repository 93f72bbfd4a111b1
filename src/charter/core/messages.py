"""One conversation, as every stage, store and file of Charter holds it."""

import re
from collections.abc import Sequence
from typing import Literal, TypedDict

Role = Literal["system", "user", "assistant"]


class Message(TypedDict):
    """One turn of a conversation."""

    role: Role
    content: str


Messages = Sequence[Message]

BREAK = "\N{ZERO WIDTH SPACE}"
"""Goes after the first character of what must be text and nothing else: a special token, a tag, a turn."""
# After a line break only: elsewhere "User:" cannot be mistaken for the beginning of a turn.
_FORGED_TURN = re.compile(r"(?<=\n)(?:S(?=ystem:)|U(?=ser:)|A(?=ssistant:))")


def system(content: str) -> Message:
    """What the model is told before the conversation."""
    return {"role": "system", "content": content}


def user(content: str) -> Message:
    """A turn of the person who asks."""
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    """A turn of the model that answers."""
    return {"role": "assistant", "content": content}


def fold_system(messages: Messages) -> list[Message]:
    """The conversation with its system text at the beginning of the first user turn, for models without that role."""
    if not messages or messages[0]["role"] != "system":
        return list(messages)
    first, *others = messages
    if others and others[0]["role"] == "user":
        return [user(f"{first['content']}\n\n{others[0]['content']}"), *others[1:]]
    return [user(first["content"]), *others]


def prompt_text(messages: Messages) -> str:
    """A prompt as one text: the message itself if there is only one, else a transcript."""
    return messages[0]["content"] if len(messages) == 1 else transcript(messages)


def transcript(messages: Messages) -> str:
    """The conversation as plain text, one ``Role: content`` paragraph per turn.

    A line inside a turn that begins as another turn does is broken up.
    """
    names = {"system": "System", "user": "User", "assistant": "Assistant"}
    # A model must not be able to write a turn of the user into its answer.
    turns = ((names[m["role"]], _FORGED_TURN.sub(rf"\g<0>{BREAK}", m["content"])) for m in messages)
    return "\n\n".join(f"{name}: {content}" for name, content in turns)
