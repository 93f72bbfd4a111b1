"""Conversations from a column's value: text, a list of messages, or an hh-rlhf transcript; and their hashes.

A transcript is a string of paragraphs that begin with ``Human:`` or ``Assistant:``. In every form, the prompt is all
turns up to and including the user's last one: a dialogue is never cut earlier.
"""

import ast
import hashlib
import json
import re
from contextlib import suppress

from charter.core.messages import Message, Messages, Role, user

_TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
_ROLES: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}
_MESSAGE_ROLES: dict[str, Role] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "model", "bot"), "assistant"),
}
"""The roles of OpenAI's messages and of ShareGPT."""
_TOOL_ROLES = ("tool", "function", "observation", "function_call", "ipython")
_LOOKS_LIKE_MESSAGES = re.compile(r"""\[\s*\{\s*['"](?:role|content|from|value|name|weight)['"]\s*:""")
_MISSING_COMMA = re.compile(r"\}\s*\n\s*\{")


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


def read_transcript(value: object, answered: bool = False) -> list[Message]:
    """The prompt of a transcript; if `answered`, with the answer that ends it.

    Raises:
        UnusableRow: empty, or not a transcript, or one without the answer.
    """
    if is_blank(value):
        raise UnusableRow("empty-prompt", "no prompt in this row")
    turns = parse_transcript(_require_unicode(value)) if isinstance(value, str) else []
    messages = _prompt_of(turns)
    if not messages:
        raise UnusableRow("malformed-transcript", f"no turn of Human: at the start of a paragraph: {str(value)[:80]!r}")
    return _answered(turns) if answered else messages


def read_conversation(value: object, answered: bool = False) -> list[Message]:
    """The prompt in a column: text, or a list of messages (OpenAI's or ShareGPT's), which may be written as text.

    If `answered`, it is returned with the answer that ends the conversation.

    Raises:
        UnusableRow: empty, or neither of them, or a conversation without the answer.
    """
    messages = read_turns(value)
    prompt = _prompt_of(messages)
    if not prompt:
        raise UnusableRow("malformed-prompt", "no turn of the user in this conversation")
    return _answered(messages) if answered else prompt


def read_turns(value: object) -> list[Message]:
    """Every turn in a column, as `read_conversation`; text is one turn of the user.

    Turns without text are left out, and the turns around one become one turn if they are of the same side.

    Raises:
        UnusableRow: empty, or neither text nor a list of messages.
    """
    if is_blank(value):
        raise UnusableRow("empty-prompt", "no prompt in this row")
    if isinstance(value, str):
        # A column of messages that went through CSV. As a prompt, it would teach the model to answer JSON.
        if not _LOOKS_LIKE_MESSAGES.match(value.lstrip()):
            return [user(_require_unicode(value).strip())]
        value = _parse_list(value)
    if not isinstance(value, list):
        raise UnusableRow("malformed-prompt", f"a {type(value).__name__}; a prompt is text or a list of messages")
    turns: list[Message] = []
    is_gap = False
    for turn in value:
        message = _read_message(turn)
        if not message["content"].strip():
            is_gap = True
        elif is_gap and turns and turns[-1]["role"] == message["role"]:
            turns[-1]["content"] += f"\n\n{message['content']}"
        else:
            turns.append(message)
            is_gap = False
    if not turns:
        raise UnusableRow("empty-prompt", "all turns are empty")
    return turns


def _parse_list(text: str) -> object:
    """A list of messages that was written as JSON or by Python."""
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    # numpy, and so pandas, writes a list without commas, one item per line
    for candidate in (text, _MISSING_COMMA.sub("}, {", text)):
        try:
            return ast.literal_eval(candidate.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    raise UnusableRow("malformed-prompt", f"a list of messages as text that cannot be parsed: {text[:80]!r}")


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
    is_said = [turn["role"] == "user" and not turn["content"].startswith("<tool_response>\n") for turn in turns]
    last = max((i for i, said in enumerate(is_said) if said), default=-1)
    return turns[: last + 1]


def _answered(turns: list[Message]) -> list[Message]:
    """All turns, of which the last must be the assistant's."""
    if turns[-1]["role"] != "assistant":
        raise UnusableRow("no-answer", "the conversation does not end with an answer")
    return turns


def _read_message(turn: object) -> Message:
    """One turn; its content is empty where it holds no text."""
    name = (turn.get("role") or turn.get("from")) if isinstance(turn, dict) else None
    if not isinstance(turn, dict) or not isinstance(name, str):
        raise UnusableRow("malformed-prompt", f"a turn must be a role and a content: {str(turn)[:120]}")
    content = _text_of(turn.get("content", turn.get("value")), name)
    # Calls and results are written as the models of Hermes and Qwen write them: a conversation without them would be
    # another one.
    if name in _TOOL_ROLES and name != "function_call":
        return user(f"<tool_response>\n{content}\n</tool_response>")
    if name == "function_call":
        return {"role": "assistant", "content": _tool_call(content)}
    if name not in _MESSAGE_ROLES:
        raise UnusableRow(
            "malformed-prompt", f"the role '{name}' is not known. Use one of: {', '.join(_MESSAGE_ROLES)}, tool"
        )
    calls = turn.get("tool_calls")
    if isinstance(calls, list):
        functions = [call["function"] for call in calls if isinstance(call, dict) and call.get("function")]
        content = "\n".join(filter(str.strip, (content, *map(_tool_call, functions))))
    return {"role": _MESSAGE_ROLES[name], "content": content}


def _tool_call(call: object) -> str:
    if isinstance(call, dict):
        arguments = call.get("arguments")
        with suppress(ValueError):  # arguments that a model wrote wrongly stay as it wrote them
            arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
        call = json.dumps({"name": call.get("name"), "arguments": arguments}, ensure_ascii=False, default=str)
    return f"<tool_call>\n{call}\n</tool_call>"


def _text_of(content: object, role: str) -> str:
    """The text of a turn's content: text, nothing, or a list of parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return _require_unicode(content)
    if not isinstance(content, list):
        raise UnusableRow("malformed-prompt", f"the content of a turn of the {role} is a {type(content).__name__}")
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, dict) else part
        if not isinstance(text, str):
            kind = part.get("type", "no type") if isinstance(part, dict) else type(part).__name__
            raise UnusableRow("not-text", f"a part of the type '{kind}' in a turn of the {role}; Charter reads text")
        texts.append(_require_unicode(text))
    return "\n".join(texts)


def _require_unicode(text: str) -> str:
    """The text itself, if it can be encoded: JSON can hold halves of characters, which no file or model accepts."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UnusableRow("malformed-prompt", f"half a character at position {error.start}") from error
    return text
