"""Text that spells a special token is broken up before it is sent, so that it reaches the model as text.

A server renders a conversation to one text and then looks for special tokens in it, wherever they came
from: a prompt that spells one could end its own turn and speak as somebody else. A zero-width space after
the first character keeps a spelling from being taken for the token.
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

_FAMILIES = {  # by first character, what may follow: for a server whose tokenizer is not at hand
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


class Spellings:
    """What a server would take for special tokens: those of `tokens`, and those of well-known families."""

    def __init__(self, tokens: Iterable[str] = ()) -> None:
        after = defaultdict[str, list[str]](list, {first: list(rests) for first, rests in _FAMILIES.items()})
        for token in sorted(set(tokens)):
            if len(token) > 1 and token.strip():  # a single character cannot be broken, white space is no forgery
                after[token[0]].append(re.escape(token[1:]))
        # The rest is only looked at, so that of spellings one inside the other each is broken.
        self._first = re.compile("|".join(f"{re.escape(first)}(?={'|'.join(rests)})" for first, rests in after.items()))

    def break_up(self, messages: Messages) -> Messages:
        """The conversation with every spelling broken up; the same object where there is none."""
        if not any(self._first.search(m["content"]) for m in messages):
            return messages
        return [Message(role=m["role"], content=self._first.sub(rf"\g<0>{BREAK}", m["content"])) for m in messages]

    def mend(self, text: str) -> str:
        """An answer to a conversation that was broken up, with the spellings it repeats as they were."""
        plain = text.replace(BREAK, "")
        starts = {match.start() for match in self._first.finditer(plain)}
        mended, length = list[str](), 0
        for character in text:
            if character != BREAK:
                length += 1
            elif length - 1 in starts:
                continue
            mended.append(character)
        return "".join(mended)


def special_tokens(model: str | Path, revision: str = "main") -> tuple[str, ...]:
    """The special tokens of a model's tokenizer, if its files are on this machine; nothing is fetched.

    Raises:
        ModelError: one of its files cannot be read.
    """
    folder = local_folder(model, revision)
    if folder is None:
        return ()
    whole, settings = _read(folder / "tokenizer.json"), _read(folder / "tokenizer_config.json")
    added = [*whole.get("added_tokens", ()), *settings.get("added_tokens_decoder", {}).values()]
    found = {token["content"] for token in added if token.get("special")}
    for named in (settings, _read(folder / "special_tokens_map.json")):
        found.update(*(_spelled(value) for name, value in named.items() if name.endswith(("_token", "special_tokens"))))
    return tuple(sorted(found))


def _spelled(value: Any) -> Iterator[str]:
    """Tokens as the formats of the years write them: a text, an object with its content, a list or table of these."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _spelled(value.get("content", list(value.values())))
    elif isinstance(value, list):
        for one in value:
            yield from _spelled(one)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"tokenizer file '{path}': cannot be read: {error}. Copy the model once more.") from error
    return values if isinstance(values, dict) else {}
