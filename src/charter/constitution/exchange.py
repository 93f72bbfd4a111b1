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
from collections.abc import Mapping, Sequence
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
    constitution = _read_values(values, name)
    # The commands write Markdown: what would be lost or changed there is refused now.
    try:
        written = parse_constitution(write_constitution(constitution))
    except ConstitutionError as error:
        raise ConstitutionError(f"'{name}': cannot be written as Markdown: {error}") from error
    # Compared whole, so that no part of the file is lost in silence.
    if written != constitution:
        raise ConstitutionError(f"'{name}': has parts that Markdown cannot keep. Delete control characters and tabs.")
    return constitution


def export_json(constitution: Constitution, format: Format = "charter") -> str:
    """A constitution in one of the formats.

    Raises:
        ConfigError: the format cannot hold a part of the constitution that must be kept.
    """
    values: Any
    if format == "paper":
        values = {}
        for p in _with_requests(constitution, format):
            # The import numbers the prompts of one entry ID, ID.2, ID.3: they become one entry again.
            former, _, number = p.id.rpartition(".")
            critique = _wrapped(p.critique_request or "", *_CRITIQUE)
            revision = _wrapped(p.revision_request or "", *_REVISION)
            if number.isdigit() and former in values and values[former]["edit_request"] == revision:
                values[former]["prompt"].append(critique)
            else:
                values[p.id] = {"prompt": [critique], "edit_request": revision}
    elif format == "llm-swarm":
        values = _to_swarm(constitution, _with_requests(constitution, format))
    elif format == "preferences":
        values = [f"\n{p.preference_request or p.text} {_OPTIONS}" for p in constitution.principles]
    elif format == "list":
        values = [p.text for p in constitution.principles]
    else:
        values = to_values(constitution)
    return json.dumps(values, ensure_ascii=False, indent=2) + "\n"


def _read_values(values: Any, name: str) -> Constitution:
    """Recognise the format and read it."""
    if isinstance(values, list) and values and all(isinstance(v, dict) and "critic" in v for v in values):
        values = {"constitutions": values}  # llm-swarm's list of critics alone
    examples: tuple[Example, ...] = ()
    if isinstance(values, dict) and "principles" in values:
        for entry, kind in [
            (values, Constitution),
            *((p, Principle) for p in _list(values["principles"], name, "principles")),
        ]:
            # Refused, not ignored: a misspelt field would be lost unnoticed.
            known = {f.name for f in fields(kind)} - {"path", "sources", "line", "file"}
            if isinstance(entry, dict) and (unknown := sorted(entry.keys() - known)):
                raise _wrong(name, unknown[0], f"is not a part of this format; known are {', '.join(sorted(known))}")
        try:
            return from_values(values)
        except ValidationError as error:
            first = error.errors()[0]
            raise _wrong(name, ".".join(map(str, first["loc"])), f"is not valid: {first['msg']}") from error
    if isinstance(values, dict) and "constitutions" in values:
        principles, examples = _from_swarm(values, name)
    elif (
        isinstance(values, dict)
        and values
        and all(isinstance(v, dict) and "edit_request" in v for v in values.values())
    ):
        principles = _from_paper(values, name)
    elif isinstance(values, list) and values and all(isinstance(v, str) for v in values):
        # All or none: a list that mixes both is read as plain principles, word for word.
        is_preference = all(v.rstrip().endswith(_OPTIONS) for v in values)
        principles = []
        for number, value in enumerate(values, 1):
            question = value.strip().removesuffix(_OPTIONS) if is_preference else value
            text = _words(question.strip(), name, f"entry {number}")
            if is_preference:
                principles.append(Principle(f"preference-{number}", _title(text), text, preference_request=text))
            else:
                principles.append(Principle(f"principle-{number}", _title(text), text))
    else:
        raise ConstitutionError(f"'{name}': not a known format. Known are: {', '.join(FORMATS)}; see the guide.")
    if not principles:
        raise ConstitutionError(f"'{name}': holds no principles. Name a file with at least one.")
    return Constitution(name, "1", tuple(principles), examples=examples)


def _from_paper(values: Mapping[str, Any], name: str) -> list[Principle]:
    principles = []
    for position, (key, entry) in enumerate(values.items(), 1):
        prompts = entry.get("prompt")
        prompts = [prompts] if isinstance(prompts, str) else prompts
        if not isinstance(prompts, list) or not prompts:
            raise _wrong(name, key, "has no list 'prompt'")
        revision = _unwrapped(_words(entry["edit_request"], name, f"{key}.edit_request"), *_REVISION)
        # A key of the paper's file is an id already, such as harmful1; keys of other files may hold spaces.
        id = key if ID.fullmatch(key) else slug(key) or f"principle-{position}"
        for number, prompt in enumerate(prompts, 1):
            critique = _unwrapped(_words(prompt, name, f"{key}.prompt"), *_CRITIQUE)
            principles.append(_principle(id if number == 1 else f"{id}.{number}", _title(key), critique, revision))
    return principles


def _from_swarm(values: Mapping[str, Any], name: str) -> tuple[list[Principle], tuple[Example, ...]]:
    if unknown := sorted(values.keys() - {"constitutions", "system_chat"}):
        raise _wrong(name, unknown[0], "is not a part of this format")
    principles, examples = list[Principle](), list[Example]()
    for number, entry in enumerate(_list(values["constitutions"], name, "constitutions"), 1):
        where = f"constitutions[{number - 1}]"
        if not isinstance(entry, dict) or entry.keys() != {"critic", "revision"}:
            raise _wrong(name, where, "must hold 'critic' and 'revision'")
        critique, revision = (_words(entry[key], name, f"{where}.{key}") for key in ("critic", "revision"))
        principles.append(_principle(f"principle-{number}", _title(critique), critique, revision))
    for number, chat in enumerate(_list(values.get("system_chat", []), name, "system_chat")):
        where = f"system_chat[{number}]"
        if not isinstance(chat, list) or not all(isinstance(t, dict) and t.keys() == {"role", "content"} for t in chat):
            raise _wrong(name, where, "must be a list of turns with 'role' and 'content'")
        roles = tuple(turn["role"] for turn in chat)
        # An example may begin with a system message, as a chat does.
        roles = roles[1:] if roles[:1] == ("system",) else roles
        if len(roles) < len(_CHAT) or roles != _CHAT[:2] * (len(roles) // 2):
            raise _wrong(name, where, "must alternate user and assistant and end in critique and revision")
        turns = [Turn(t["role"], _words(t["content"], name, where)) for t in chat]
        *prompt, response, critique_request, critique_turn, revision_request, revision_turn = turns
        texts = (response, critique_turn, revision_turn, critique_request, revision_request)
        examples.append(Example(tuple(prompt), *(turn.content for turn in texts)))
    return principles, tuple(examples)


def _to_swarm(constitution: Constitution, principles: Sequence[Principle]) -> dict[str, Any]:
    entries = [{"critic": p.critique_request, "revision": p.revision_request} for p in principles]
    chats = []
    for example in (*constitution.examples, *(e for p in principles for e in p.examples)):
        # A chat states its requests; an example without any is shown with those of the first principle.
        critique_request = example.critique_request or entries[0]["critic"] or ""
        revision_request = example.revision_request or entries[0]["revision"] or ""
        rest = [example.response, critique_request, example.critique, revision_request, example.revision]
        turns = [(t.role, t.content) for t in example.prompt] + list(zip(_CHAT[1:], rest, strict=True))
        chats.append([{"role": role, "content": content} for role, content in turns])
    return {"constitutions": entries, "system_chat": chats}


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
    # Principles of these formats have no titles.
    shown = " ".join(words[:8])[:120].rstrip(".,:; ")
    return shown + (" …" if len(words) > 8 else "")
