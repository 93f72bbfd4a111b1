"""Text that spells a special token is escaped before it is sent, so that it reaches the model as text.

A server renders a conversation to one text and then looks for special tokens in it, wherever they came from: a prompt
that spells one could end its own turn and write the next one. A zero-width space after the first character prevents it.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from charter.core.errors import ModelError
from charter.core.messages import BREAK, Message, Messages
from charter.inference.identity import local_folder

_FAMILIES = {  # first character: what may follow. For servers whose tokenizer is not on this machine.
    "<": (
        r"\|[^\s|<>]{1,64}\|>",  # ChatML, Llama 3, Phi, the sandbox: <|im_start|>
        r"｜[^\s｜<>]{1,64}｜>",  # noqa: RUF001  DeepSeek, with bars of full width
        r"/?s>|</?SYS>>",  # Llama 2, Mistral
        r"(?:start|end)_of_turn>",  # Gemma
        r"(?:bos|eos|pad|unk)>|(?:BOS|EOS)_TOKEN>",
        r"extra_id_\d+>|reserved_\d+>",  # T5, Nemotron, Baichuan
    ),
    "[": (
        r"/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS|TOOL_CALLS|TOOL_CONTENT)\]",  # Mistral
        r"\|[^\s|\[\]]{1,64}\|\]",  # EXAONE
    ),
}


class SpecialTokenGuard:
    """Escapes text that a server would read as special tokens: those of `tokens`, and those of well-known families."""

    def __init__(self, tokens: Iterable[str] = ()) -> None:
        after = defaultdict[str, list[str]](list, {first: list(rests) for first, rests in _FAMILIES.items()})
        for token in sorted(set(tokens)):
            if len(token) > 1 and token.strip():  # a single character cannot be split, and white space forges no turn
                after[token[0]].append(re.escape(token[1:]))
        # Only the first character is consumed, so that of two spellings one inside the other both are escaped.
        self._first = re.compile("|".join(f"{re.escape(first)}(?={'|'.join(rests)})" for first, rests in after.items()))

    def escape(self, messages: Messages) -> Messages:
        """The conversation with every special token escaped; the same object if it has none."""
        if not any(self._first.search(m["content"]) for m in messages):
            return messages
        return [Message(role=m["role"], content=self._first.sub(rf"\g<0>{BREAK}", m["content"])) for m in messages]

    def unescape(self, text: str) -> str:
        """An answer to an escaped conversation, with the special tokens that it repeats in their original form."""
        plain = text.replace(BREAK, "")
        starts = {match.start() for match in self._first.finditer(plain)}
        characters, length = list[str](), 0
        for character in text:
            if character != BREAK:
                length += 1
            elif length - 1 in starts:  # zero-width spaces anywhere else are the model's own
                continue
            characters.append(character)
        return "".join(characters)


def special_tokens(model: str | Path, revision: str = "main") -> tuple[str, ...]:
    """The special tokens of a model's tokenizer, if its files are on this machine; nothing is downloaded.

    Raises:
        ModelError: one of its files cannot be read.
    """
    folder = local_folder(model, revision)
    if folder is None:
        return ()
    tokenizer = _read_tokenizer_file(folder / "tokenizer.json")
    settings = _read_tokenizer_file(folder / "tokenizer_config.json")
    added = [*tokenizer.get("added_tokens", ()), *settings.get("added_tokens_decoder", {}).values()]
    tokens = {token["content"] for token in added if token.get("special")}
    for fields in (settings, _read_tokenizer_file(folder / "special_tokens_map.json")):
        for name, value in fields.items():
            if name.endswith(("_token", "special_tokens")):
                tokens.update(_token_texts(value))
    return tuple(sorted(tokens))


def _token_texts(value: Any) -> Iterator[str]:
    """The tokens in a setting: a text, an object with its content, or a list or table of these, by format version."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _token_texts(value.get("content", list(value.values())))
    elif isinstance(value, list):
        for item in value:
            yield from _token_texts(item)


def _read_tokenizer_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"tokenizer file '{path}': cannot be read: {error}. Copy the model again.") from error
    return values if isinstance(values, dict) else {}
