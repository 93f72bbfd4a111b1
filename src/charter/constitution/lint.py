"""Mistakes and doubtful parts of a constitution, reported before it costs anything."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Literal, NamedTuple

from charter.constitution.model import Constitution, Principle
from charter.constitution.parse import load_constitution
from charter.constitution.problems import BrokenConstitution, Problem
from charter.constitution.show import requests_of
from charter.constitution.source import decode, read_file

KNOWN_TAGS = ("helpful", "honest", "harmless")
_LONGEST_TEXT, _SHORTEST_TEXT, _LONGEST_PREFACE = 150, 3, 400  # words
_SAME = 0.6  # the overlap from which two principles count as near duplicates
_CROWDED = 0.5  # the share of draws from which a principle crowds out the others
_CHARACTERS_PER_TOKEN = 3.5
_SUSPICIOUS = (
    ("template-braces", re.compile(r"\{\{|\}\}|\{%|%\}|\{#|#\}"), "template braces"),
    (
        "special-token",
        re.compile(r"<\|[^<>|\s]{1,40}\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>"),
        "a special token",
    ),
    (
        "role-marker",
        re.compile(
            r"^\W{0,2}(?:human|user|assistant|system|ai)\W{0,2}:|^#{2,} ?(?:instruction|response|human|assistant)",
            re.I | re.M,
        ),
        "a role marker",
    ),
)
_FIXES = {
    "template-braces": "Say it without them; the model would read them literally",
    "special-token": "Delete it: it reaches the model as plain text and confuses it",
    "role-marker": "Say it without; a dialogue belongs under '### Examples'",
}


class ContextWindow(NamedTuple):
    """The size of the model's context.

    Attributes:
        tokens: its context, prompt and answer together.
        count: the number of tokens of a text; estimated by length without a tokenizer.
    """

    tokens: int
    count: Callable[[str], int] = lambda text: round(len(text) / _CHARACTERS_PER_TOKEN)


def lint(path: Path, context: ContextWindow | None = None, templates: Path | None = None) -> list[Problem]:
    """Everything that is wrong or doubtful with a constitution, in order of file and line.

    A file that cannot be parsed gives only the mistakes of parsing; each has its line and what to do.
    Warnings are matters of judgement, errors are not.
    """
    try:
        constitution = load_constitution(path)
    except BrokenConstitution as error:
        return list(error.problems)
    found = [*_check_whole(constitution), *_find_near_duplicates(constitution)]
    for principle in constitution.principles:
        found += _check_principle(principle)
        if context is None:
            continue
        examples = (*constitution.examples, *principle.examples)
        shown = "\n".join(
            text for e in examples for text in (*(t.content for t in e.prompt), e.response, e.critique, e.revision)
        )
        requests = requests_of(principle, templates)
        # The longest of the requests decides.
        sizes = Counter({name: context.count(f"{shown}\n{text}") for name, text in requests.items()})
        name, tokens = sizes.most_common(1)[0]
        if tokens > context.tokens / 2:
            what = f"the {name} request of '{principle.title}' takes {tokens} of the model's {context.tokens} tokens"
            fix = "Shorten it or its examples: half must be left for the conversation and the answer"
            found.append(_at(principle, "context", what, fix))
    return sorted(found, key=lambda p: (p.file, p.line))


def _check_principle(principle: Principle) -> Iterator[Problem]:
    title, words = principle.title, len(principle.text.split())
    if words > _LONGEST_TEXT:
        what = f"'{title}' has {words} words"
        yield _at(principle, "long-text", what, f"Say it in {_LONGEST_TEXT} or split it in two", "warning")
    if words < _SHORTEST_TEXT:
        what, fix = f"'{title}' says almost nothing", "Say what a good answer does, in a sentence"
        yield _at(principle, "short-text", what, fix, "warning")
    texts = {
        "the title": title,
        "the text": principle.text,
        "'### Critique'": principle.critique_request,
        "'### Revision'": principle.revision_request,
        "'### Preference'": principle.preference_request,
    }
    for where, text in texts.items():
        for code, what, hit in suspicious(text or ""):
            yield _at(_found(principle, hit), code, f"{what} in {where} of '{title}'", _fix(code))
    for example in principle.examples:
        if example.revision == example.response and len(principle.examples) == 1:
            what = f"the only example of '{title}' has a revision that repeats the response"
            yield _at(principle, "idle-example", what, "Add one in which the revision corrects something", "warning")
        for text in (*(turn.content for turn in example.prompt), example.response, example.critique, example.revision):
            for code, what, hit in suspicious(text):
                if code != "role-marker":  # people write dialogues in dialogues
                    yield _at(_found(principle, hit), code, f"{what} in an example of '{title}'", _fix(code))


def suspicious(text: str) -> list[tuple[str, str, str]]:
    """What a text for a model should not contain: the code and name of each, and the characters themselves."""
    hits = [(code, name, hit[0].strip()) for code, pattern, name in _SUSPICIOUS if (hit := pattern.search(text))]
    found = [(code, f"{name} '{hit}'", hit) for code, name, hit in hits]
    hidden = {c for c in text if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf", "Co", "Cn")}
    joiners = {"\u200c", "\u200d"}  # several scripts and emoji are written with these
    return found + [
        ("hidden-character", f"the invisible character U+{ord(c):04X}", c) for c in sorted(hidden - joiners)
    ]


def _found(principle: Principle, hit: str) -> Principle:
    """The principle as if it began on the line of its file that holds `hit`."""
    path = Path(principle.file)
    lines = decode(read_file(path), path).splitlines()
    after = range(principle.line, len(lines) + 1)
    return replace(principle, line=next((n for n in after if hit in lines[n - 1]), principle.line))


def _check_whole(constitution: Constitution) -> Iterator[Problem]:
    """Problems of tags, preface and weights."""
    known = {*KNOWN_TAGS, *constitution.tags}
    for principle in constitution.principles:
        for tag in principle.tags:
            if tag not in known:
                fix = f"Use one of {', '.join(sorted(known))}, or declare it at the top: 'tags: [{tag}]'"
                yield _at(principle, "unknown-tag", f"the tag '{tag}' of '{principle.title}' is not declared", fix)
    # A declared tag without a principle is most often a misspelt one.
    used = {tag for p in constitution.principles for tag in p.tags}
    for tag in constitution.tags:
        if tag not in used:
            what = f"no principle has the declared tag '{tag}'"
            yield _at(constitution, "unused-tag", what, "Delete it from 'tags'", "warning")
    words = len(constitution.preface.split())
    if words > _LONGEST_PREFACE:
        what, fix = f"the preface has {words} words", f"Keep it under {_LONGEST_PREFACE}"
        yield _at(constitution, "long-preface", what, fix, "warning")
    for code, what, _ in suspicious(constitution.preface):
        yield _at(constitution, code, f"{what} in the preface", _fix(code))
    total = sum(p.weight for p in constitution.principles)
    for p in constitution.principles:
        # of two principles, one always has half of the draws
        if len(constitution.principles) > 2 and p.weight / total > _CROWDED:
            what = f"'{p.title}' takes {p.weight / total:.0%} of all draws"
            yield _at(p, "heavy-weight", what, "Lower its weight, or leave out what is never drawn", "warning")


def _find_near_duplicates(constitution: Constitution) -> Iterator[Problem]:
    """Pairs of principles with most of their two-word sequences in common."""
    bigrams = []
    for p in constitution.principles:
        text = " ".join((p.text, p.critique_request or "", p.preference_request or ""))
        words = re.findall(r"\w+", text.casefold())
        bigrams.append((p, frozenset(zip(["", *words], [*words, ""], strict=True))))
    for (first, a), (second, b) in combinations(bigrams, 2):
        # the sizes are compared first, because sets of very different size cannot overlap enough
        if a and b and min(len(a), len(b)) / max(len(a), len(b)) >= _SAME and len(a & b) / len(a | b) >= _SAME:
            what = f"'{second.title}' says nearly the same as '{first.title}' on line {first.line}"
            yield _at(second, "near-duplicate", what, "Join them; use 'weight=2' if it should count twice", "warning")


def _fix(code: str) -> str:
    return _FIXES.get(code, "Delete it; retype the words around it")


def _at(
    subject: Principle | Constitution, code: str, what: str, fix: str, severity: Literal["error", "warning"] = "error"
) -> Problem:
    """A problem on a principle's line, or on the first line of the constitution's file."""
    if isinstance(subject, Constitution):
        return Problem(str(subject.path), 1, code, what, f"{fix}.", severity)
    return Problem(subject.file, subject.line, code, what, f"{fix}.", severity)


def counts(problems: Sequence[Problem]) -> dict[str, int]:
    """How many errors and warnings there are."""
    return {kind: sum(p.severity == kind for p in problems) for kind in ("error", "warning")}
