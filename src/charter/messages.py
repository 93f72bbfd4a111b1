"""One conversation, as every stage, store and file of Charter holds it."""

from collections.abc import Sequence
from typing import Literal, TypedDict

Role = Literal["system", "user", "assistant"]


class Message(TypedDict):
    """One turn of a conversation."""

    role: Role
    content: str


Messages = Sequence[Message]


def user(content: str) -> Message:
    """A turn of the person who asks."""
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    """A turn of the model that answers."""
    return {"role": "assistant", "content": content}


def transcript(messages: Messages) -> str:
    """The conversation as plain text, one ``Role: content`` paragraph per turn."""
    names = {"system": "System", "user": "User", "assistant": "Assistant"}
    return "\n\n".join(f"{names[m['role']]}: {m['content']}" for m in messages)
