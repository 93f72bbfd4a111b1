"""Import and export of constitutions as JSON, in Charter's format and those of other projects.

- ``paper``: the Constitutional AI paper's repository: an object whose entries hold a list ``prompt``
  (``CritiqueRequest: … Critique:``) and an ``edit_request`` (``RevisionRequest: … Revision:``).
- ``preferences``: that repository's list of preference instructions, each ending in ``Options:``.
- ``llm-swarm``: ``constitutions``, a list of ``critic`` and ``revision``, and ``system_chat``, a list of chats,
  which become examples shown with every principle; or the list of critics alone.
- ``list``: a plain list of principles.
- ``charter``: everything that a constitution holds.

Where a format has no paragraph per principle, one is derived from the revision request. The imported requests are kept
word for word, in the sections that replace the derived requests.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal

from pydantic import ValidationError

from charter.constitution.kept import from_values, to_values
from charter.constitution.model import Constitution, Example, Principle, Turn
from charter.constitution.parse import ID, parse_constitution, slug
from charter.constitution.write import write_constitution
from charter.core.errors import ConfigError, ConstitutionError

Format = Literal["charter", "paper", "preferences", "llm-swarm", "list"]
FORMATS: tuple[Format, ...] = ("charter", "paper", "preferences", "llm-swarm", "list")

_CRITIQUE = ("CritiqueRequest:", "Critique:")
_REVISION = ("RevisionRequest:", "Revision:")
_OPTIONS = "Options:"
_DERIVED = "A good answer gives no reason for this request: "
_CHAT = ("user", "assistant", "user", "assistant", "user", "assistant")


def import_json(text: str, name: str) -> Constitution:
    """A constitution from any of the formats, which are recognised by their shape; `name` becomes its name.

    Raises:
        ConstitutionError: not JSON, not one of the formats, or an entry that is not as its format says.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConstitutionError(f"'{name}': not JSON: {error}. Name a .json file.") from error
    read = _reader(values, name)
    constitution = read(values, name)
    try:
        kept = parse_constitution(write_constitution(constitution))
    except ConstitutionError as error:
        raise ConstitutionError(f"'{name}': cannot be written as Markdown: {error}") from error
    if kept != constitution:
        raise ConstitutionError(f"'{name}': has parts that Markdown cannot keep. Delete control characters and tabs.")
    return constitution


def export_json(constitution: Constitution, format: Format = "charter") -> str:
    """A constitution in one of the formats.

    Raises:
        ConfigError: the format cannot hold a part of the constitution that must be kept.
    """
    write: dict[Format, Callable[[Constitution], Any]] = {
        "charter": to_values,
        "paper": _to_paper,
        "preferences": _to_preferences,
        "llm-swarm": _to_swarm,
        "list": lambda constitution: [p.text for p in constitution.principles],
    }
    return json.dumps(write[format](constitution), ensure_ascii=False, indent=2) + "\n"


def _reader(values: Any, name: str) -> Callable[[Any, str], Constitution]:
    if isinstance(values, dict) and "constitutions" in values:
        return _from_swarm
    if isinstance(values, dict) and "principles" in values:
        return _from_charter
    if (
        isinstance(values, dict)
        and values
        and all(isinstance(v, dict) and "edit_request" in v for v in values.values())
    ):
        return _from_paper
    if isinstance(values, list) and values and all(isinstance(v, dict) and "critic" in v for v in values):
        return lambda found, name: _from_swarm({"constitutions": found}, name)
    if isinstance(values, list) and values and all(isinstance(v, str) for v in values):
        return _from_preferences if all(v.rstrip().endswith(_OPTIONS) for v in values) else _from_list
    raise ConstitutionError(f"'{name}': not a known format. Known are: {', '.join(FORMATS)}; see the guide.")


def _from_paper(values: Mapping[str, Any], name: str) -> Constitution:
    principles = []
    for place, (key, entry) in enumerate(values.items(), 1):
        prompts = entry.get("prompt")
        prompts = [prompts] if isinstance(prompts, str) else prompts
        if not isinstance(prompts, list) or not prompts:
            raise _wrong(name, key, "has no list 'prompt'")
        revision = _unwrapped(_words(entry["edit_request"], name, f"{key}.edit_request"), *_REVISION)
        for number, prompt in enumerate(prompts, 1):
            critique = _unwrapped(_words(prompt, name, f"{key}.prompt"), *_CRITIQUE)
            id = _id(key, place) if number == 1 else f"{_id(key, place)}.{number}"
            principles.append(_principle(id, _title(key), critique, revision))
    return _constitution(name, principles)


def _to_paper(constitution: Constitution) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for p in _with_requests(constitution, "paper"):
        former, _, number = p.id.rpartition(".")
        critique = _wrapped(p.critique_request or "", *_CRITIQUE)
        revision = _wrapped(p.revision_request or "", *_REVISION)
        if number.isdigit() and former in entries and entries[former]["edit_request"] == revision:
            entries[former]["prompt"].append(critique)
        else:
            entries[p.id] = {"prompt": [critique], "edit_request": revision}
    return entries


def _from_preferences(values: Sequence[str], name: str) -> Constitution:
    principles = []
    for number, value in enumerate(values, 1):
        question = value.strip().removesuffix(_OPTIONS).strip()
        words = _words(question, name, f"entry {number}")
        principles.append(Principle(f"preference-{number}", _title(words), words, preference_request=words))
    return _constitution(name, principles)


def _to_preferences(constitution: Constitution) -> list[str]:
    return [f"\n{p.preference_request or p.text} {_OPTIONS}" for p in constitution.principles]


def _from_list(values: Sequence[str], name: str) -> Constitution:
    texts = [_words(value.strip(), name, f"entry {n}") for n, value in enumerate(values, 1)]
    return _constitution(name, [Principle(f"principle-{n}", _title(text), text) for n, text in enumerate(texts, 1)])


def _from_swarm(values: Mapping[str, Any], name: str) -> Constitution:
    if unknown := sorted(values.keys() - {"constitutions", "system_chat"}):
        raise _wrong(name, unknown[0], "is not a part of this format")
    principles = []
    for number, entry in enumerate(_list(values["constitutions"], name, "constitutions"), 1):
        where = f"constitutions[{number - 1}]"
        if not isinstance(entry, dict) or entry.keys() != {"critic", "revision"}:
            raise _wrong(name, where, "must hold 'critic' and 'revision'")
        critique, revision = (_words(entry[key], name, f"{where}.{key}") for key in ("critic", "revision"))
        principles.append(_principle(f"principle-{number}", _title(critique), critique, revision))
    chats = _list(values.get("system_chat", []), name, "system_chat")
    return _constitution(name, principles, tuple(_example(chat, name, n) for n, chat in enumerate(chats)))


def _to_swarm(constitution: Constitution) -> dict[str, Any]:
    principles = _with_requests(constitution, "llm-swarm")
    entries = [{"critic": p.critique_request, "revision": p.revision_request} for p in principles]
    default = entries[0]
    examples = (*constitution.examples, *(e for p in principles for e in p.examples))
    return {"constitutions": entries, "system_chat": [_chat(e, default) for e in examples]}


def _example(chat: Any, name: str, number: int) -> Example:
    """A chat that ends in critique request, critique, revision request and revision."""
    where = f"system_chat[{number}]"
    if not isinstance(chat, list) or not all(isinstance(t, dict) and t.keys() == {"role", "content"} for t in chat):
        raise _wrong(name, where, "must be a list of turns with 'role' and 'content'")
    roles = tuple(turn["role"] for turn in chat)
    spoken = roles[1:] if roles[:1] == ("system",) else roles
    if len(spoken) < len(_CHAT) or spoken != _CHAT[:2] * (len(spoken) // 2):
        raise _wrong(name, where, "must alternate user and assistant and end in critique and revision")
    turns = [Turn(t["role"], _words(t["content"], name, where)) for t in chat]
    *prompt, response, critique_request, critique, revision_request, revision = turns
    texts = [t.content for t in (response, critique, revision, critique_request, revision_request)]
    return Example(tuple(prompt), *texts)


def _chat(example: Example, default: Mapping[str, str | None]) -> list[dict[str, str]]:
    asked = example.critique_request or default["critic"] or ""
    revise = example.revision_request or default["revision"] or ""
    rest = [example.response, asked, example.critique, revise, example.revision]
    turns = [(t.role, t.content) for t in example.prompt] + list(zip(_CHAT[1:], rest, strict=True))
    return [{"role": role, "content": content} for role, content in turns]


def _from_charter(values: Mapping[str, Any], name: str) -> Constitution:
    for entry, kind in [
        (values, Constitution),
        *((p, Principle) for p in _list(values["principles"], name, "principles")),
    ]:
        known = {f.name for f in fields(kind)} - {"path", "sources", "line", "file"}
        if isinstance(entry, dict) and (unknown := sorted(entry.keys() - known)):
            raise _wrong(name, unknown[0], f"is not a part of this format; known are {', '.join(sorted(known))}")
    try:
        return from_values(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise _wrong(name, ".".join(map(str, first["loc"])), f"is not valid: {first['msg']}") from error


def _with_requests(constitution: Constitution, format: str) -> Sequence[Principle]:
    for p in constitution.principles:
        if p.critique_request is None or p.revision_request is None:
            raise ConfigError(
                f"principle '{p.id}': the format '{format}' needs requests. "
                "Write '### Critique' and '### Revision' under it, or use --format list or charter."
            )
    return constitution.principles


def _principle(id: str, title: str, critique: str, revision: str) -> Principle:
    return Principle(id, title, _DERIVED + revision, critique_request=critique, revision_request=revision)


def _constitution(name: str, principles: Sequence[Principle], examples: tuple[Example, ...] = ()) -> Constitution:
    if not principles:
        raise ConstitutionError(f"'{name}': holds no principles. Name a file with at least one.")
    return Constitution(name, "1", tuple(principles), examples=examples)


def _list(value: Any, name: str, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(name, where, "must be a list")
    return value


def _words(value: Any, name: str, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _wrong(name, where, "must be text")
    return value


def _wrong(name: str, where: str, what: str) -> ConstitutionError:
    return ConstitutionError(
        f"'{name}': {where} {what}. Correct it, or see the formats in docs/writing-a-constitution.md."
    )


def _unwrapped(text: str, before: str, after: str) -> str:
    return text.strip().removeprefix(before).removesuffix(after).strip()


def _wrapped(text: str, before: str, after: str) -> str:
    return f"\n\n{before} {text}\n\n{after}"


def _title(text: str) -> str:
    """The first words of a text, as the title of a principle."""
    words = text.split()
    shown = " ".join(words[:8])[:120].rstrip(".,:; ")
    return shown + (" …" if len(words) > 8 else "")


def _id(key: str, number: int) -> str:
    return key if ID.fullmatch(key) else slug(key) or f"principle-{number}"
