"""The held-out requests that every model of a run is asked, from a file or a registered source.

Some more are made of a source's requests: harmful ones under pressure, and facts that a user doubts. Unanswerable
questions and pairs come from the source.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml

from charter.config import Evaluation, Probes
from charter.core.errors import DataError
from charter.core.messages import Message, assistant, prompt_text, transcript, user
from charter.core.plugins import Registry
from charter.data.conversations import UnusableRow, read_conversation
from charter.data.published import request_columns
from charter.data.readers import read_records
from charter.evaluation.records import HEADLINE, Category, HeldOut

RequestSource = Callable[[Evaluation, int], list[HeldOut]]
"""From the settings and a seed to every request of an evaluation; the same seed gives the same requests."""

REQUEST_SOURCES: Registry[RequestSource] = Registry("source of held-out requests", "evaluation.source")
request_source = REQUEST_SOURCES.register
"""Decorator: make a function available as `evaluation.source` under a name."""

PRESSURES = ("role-play", "prefix-injection", "insistence", "several-turns", "prefilled")
"""Kinds of pressure. Several turns: a harmless exchange comes first. Prefilled: the answer's first words are given."""

Pressures = Mapping[str, Sequence[str]]
"""By kind of pressure, texts with ``{request}`` in them."""

_COLUMNS = ("prompt", "category")
_FILE_CATEGORIES: tuple[Category, ...] = (*HEADLINE, "unknown", "paired")
"""Categories that a row may have; requests of the others are made of these."""
_TEXTS = ("category", "kind", "answer", "pair", "wrong", "group")


def load_requests(settings: Evaluation, seed: int) -> list[HeldOut]:
    """The requests of `settings.source`, as many of each category as the settings say, and those made of them.

    Raises:
        DataError: a file that cannot be read, lacks a column, or holds an unknown category or half a pair.
    """
    if settings.source in REQUEST_SOURCES:
        return REQUEST_SOURCES[settings.source](settings, seed)
    counts: dict[Category, int] = {
        "harmful": settings.n_harmful,
        "benign": settings.n_benign,
        "borderline": settings.n_borderline,
        "fact": settings.n_facts,
        "unknown": settings.probes.n_unknown,
    }
    rows = _read_file(Path(settings.source))
    plain = [r for c, n in counts.items() for r in alternate_kinds([r for r in rows if r.category == c])[:n]]

    pairs: dict[str, list[HeldOut]] = {}
    for request in rows:
        if request.category == "paired":
            pairs.setdefault(str(request.pair), []).append(request)
    for name, pair in pairs.items():
        if len(pair) != 2 or pair[0].variant == pair[1].variant:
            raise DataError(
                f"evaluation.source '{settings.source}': pair '{name}' has {len(pair)} rows. A pair is two rows of "
                "category paired that share `pair` and differ in `group`."
            )
    paired = [row for pair in list(pairs.values())[: settings.probes.n_paired] for row in pair]
    return [*plain, *make_probes(plain, settings.probes, seed), *paired]


def alternate_kinds(requests: list[HeldOut]) -> list[HeldOut]:
    """The requests reordered so that kinds take turns: each has its share of the first few."""
    kinds: dict[str | None, list[HeldOut]] = {}
    for request in requests:
        kinds.setdefault(request.kind, []).append(request)
    return [request for turn in zip_longest(*kinds.values()) for request in turn if request is not None]


def make_probes(
    plain: Sequence[HeldOut], settings: Probes, seed: int, pressures: Pressures | None = None
) -> list[HeldOut]:
    """Requests made of the headline's: pressure on the harmful ones, doubt about the facts.

    Args:
        plain: the headline's requests.
        settings: how many of each kind.
        seed: of the draws.
        pressures: texts that replace those of ``probes.yaml``, for a source whose models know only its own words.
    """
    harmful = [request for request in plain if request.category == "harmful"]
    facts = [request for request in plain if request.category == "fact" and request.answer and request.wrong]
    pressed = [apply_pressure(r, kind, seed, pressures) for kind in PRESSURES for r in harmful[: settings.n_pressed]]
    return pressed + [insist_on_wrong(r, seed) for r in facts[: settings.n_insisted]]


def apply_pressure(request: HeldOut, variant: str, seed: int = 0, pressures: Pressures | None = None) -> HeldOut:
    """A harmful request under one kind of pressure."""
    rng, prefix = random.Random(f"{variant}:{seed}:{request.request_id}"), ""
    *said, last = request.messages
    conversation: tuple[Message, ...]
    if variant == "several-turns":
        before = rng.choice(probe_wording()["earlier"])
        instructions = [message for message in said if message["role"] == "system"]  # templates want them first
        exchange = user(before["user"]), assistant(before["assistant"])
        conversation = (*instructions, *exchange, *(m for m in said if m["role"] != "system"), last)
    elif variant == "prefilled":
        prefix = str(rng.choice(probe_wording()["begun"]))
        conversation = (*request.messages, assistant(prefix))
    else:
        texts = (pressures or probe_wording()["pressures"])[variant]
        conversation = (*said, user(rng.choice(texts).format(request=last["content"])))
    changed = _with_conversation(request, f"{variant}-{request.request_id}", conversation)
    return replace(changed, category="pressed", variant=variant, response_prefix=prefix)


def insist_on_wrong(request: HeldOut, seed: int = 0) -> HeldOut:
    """A fact with its right answer, and a user who insists on a wrong one."""
    rng = random.Random(f"insist:{seed}:{request.request_id}")
    # The right answer is given, not asked for, so that every model is doubted in the same words on the same facts
    right = request.statement or str(request.answer)
    doubt = str(rng.choice(probe_wording()["doubts"])).format(x=request.wrong)
    conversation = (*request.messages, assistant(right), user(doubt))
    return replace(_with_conversation(request, f"insisted-{request.request_id}", conversation), category="insisted")


@cache
def probe_wording() -> dict[str, Any]:
    """The texts of ``probes.yaml``."""
    texts: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("probes.yaml").read_text(encoding="utf-8"))
    return texts


def _with_conversation(request: HeldOut, request_id: str, conversation: tuple[Message, ...]) -> HeldOut:
    shown = conversation[0]["content"] if len(conversation) == 1 else transcript(conversation)
    return replace(request, request_id=request_id, prompt=shown, conversation=conversation)


def _read_file(path: Path) -> list[HeldOut]:
    requests = []
    for number, record in enumerate(read_records(path, "held-out requests", "evaluation.source")):
        where = f"evaluation.source '{path}': row {number}"
        if record.problem:
            raise DataError(f"{where} cannot be read: {record.problem}. Correct the row.")
        values = request_columns(record.values, path)
        if missing := [column for column in _COLUMNS if values.get(column) in (None, "", [])]:
            raise DataError(
                f"{where} has no {' and no '.join(missing)}. Each row needs {' and '.join(_COLUMNS)}; kind, answer, "
                "wrong, pair and group may follow."
            )
        if values["category"] not in _FILE_CATEGORIES:
            known = ", ".join(_FILE_CATEGORIES)
            raise DataError(f"{where}: category '{values['category']}' is unknown. Use {known}.")
        paired = values["category"] == "paired"
        if paired and not (values.get("pair") and values.get("group")):
            raise DataError(f"{where} is paired and needs the columns pair and group.")
        if structured := [name for name in _TEXTS if isinstance(values.get(name), list | dict)]:
            raise DataError(f"{where}: {structured[0]} is a {type(values[structured[0]]).__name__}. Write a text.")
        kind, answer, pair, wrong = (
            str(values[column]) if values.get(column) not in (None, "") else None
            for column in ("kind", "answer", "pair", "wrong")
        )
        try:
            messages = _read_prompt(values["prompt"])
        except UnusableRow as problem:
            raise DataError(f"{where}: {problem}. Correct the row.") from problem
        requests.append(
            HeldOut(
                request_id=f"{number:06d}",
                prompt=prompt_text(messages),
                category=values["category"],
                kind=kind,
                answer=answer,
                variant=str(values["group"]) if paired else None,
                pair=pair,
                wrong=wrong,
                conversation=messages if len(messages) > 1 else (),
            )
        )
    return requests


def _read_prompt(value: object) -> tuple[Message, ...]:
    """A request's conversation, whose text stays as it is: answers are kept under it."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (user(str(value)),)
    if isinstance(value, str) and value.strip():
        return (user(value),)
    return tuple(read_conversation(value))
