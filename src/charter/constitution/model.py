"""A constitution as values: principles with their requests and examples, and the hashes that name their content."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from charter.core.messages import Role

PLUS = "+"
"""Between the ids of joined principles."""


class Turn(NamedTuple):
    """One turn of an example's prompt."""

    role: Role
    content: str


@dataclass(frozen=True)
class Example:
    """A worked case to show the model: a prompt, a first response, its critique and the revision.

    `critique_request` and `revision_request` are what the critique and the revision answer to, where
    the example replaces them; otherwise they are those of the principle it is shown for.
    """

    prompt: tuple[Turn, ...]
    response: str
    critique: str
    revision: str
    critique_request: str | None = None
    revision_request: str | None = None


@dataclass(frozen=True)
class Principle:
    """One rule. Its `hash` covers what can reach the model, so not its id, title, tags, weight or position."""

    id: str
    title: str
    text: str
    tags: tuple[str, ...] = ()
    weight: float = 1.0
    critique_request: str | None = None
    revision_request: str | None = None
    preference_request: str | None = None
    examples: tuple[Example, ...] = ()
    checks: tuple[str, ...] = ()
    """Sentences that `charter.constitution.checks` understands: rules that decide instead of a model."""
    line: int = field(default=0, compare=False)
    file: str = field(default="", compare=False)

    @cached_property
    def hash(self) -> str:
        """16 hexadecimal digits over the words, the requests and the examples."""
        requests = (self.critique_request, self.revision_request, self.preference_request)
        checks = [list(self.checks)] if self.checks else []  # without any, the hash is that of earlier versions
        return content_hash(self.text, *requests, _example_values(self.examples), *checks)

    @property
    def parts(self) -> "tuple[Principle, ...]":
        """The principles that were joined to make this one; itself if it is a single one."""
        return (self,)


@dataclass(frozen=True)
class Joined(Principle):
    """Several principles in one request; made by `join_principles`."""

    parts: tuple[Principle, ...] = ()

    @cached_property
    def hash(self) -> str:
        """16 hexadecimal digits over the hashes of its parts."""
        return content_hash([part.hash for part in self.parts])


class SourceFile(NamedTuple):
    """A file that a constitution was read from, byte for byte."""

    path: Path
    content: bytes


@dataclass(frozen=True)
class Constitution:
    """Principles in the order of the file, those it extends first.

    `examples` are shown with every principle. `tags` are the free tags that the front matter declares.
    `sources` are the files it was read from: its own first, then those it extends; empty if it was not read from files.
    """

    name: str
    version: str
    principles: tuple[Principle, ...]
    description: str = ""
    language: str = "en"
    preface: str = ""
    tags: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    path: Path | None = field(default=None, compare=False)
    sources: tuple[SourceFile, ...] = field(default=(), compare=False, repr=False)

    @cached_property
    def hash(self) -> str:
        """16 hexadecimal digits over its text and how principles are drawn.

        Comments, spacing and the order of principles do not change it; nor do name, version and titles.
        """
        # Ids, weights and tags decide which principle a row draws, but not what the model is told.
        drawn = {p.id: [p.hash, p.weight, sorted(p.tags)] for p in self.principles}
        return content_hash(self.preface, _example_values(self.examples), drawn)

    def principle(self, id: str) -> Principle:
        """The principle with that id.

        Raises:
            KeyError: no principle has this id.
        """
        for principle in self.principles:
            if principle.id == id:
                return principle
        raise KeyError(id)


def join_principles(principles: Sequence[Principle]) -> Principle:
    """One principle that combines several, or the only one given.

    Its id is theirs with a plus between them. No id contains a plus, so `ids_in` splits it again.
    Its text lists theirs; requests and examples stay with the parts.
    """
    # One text with one hash: stages, store and lineage then know only rounds about a single principle.
    if len(principles) == 1:
        return principles[0]
    text = "\n".join(f"{number}. {p.text}" for number, p in enumerate(principles, start=1))
    id, title = PLUS.join(p.id for p in principles), f" {PLUS} ".join(p.title for p in principles)
    return Joined(id, title, text, parts=tuple(principles))


def ids_in(id: str) -> list[str]:
    """The ids of the principles in a `principle_id`, which may be joined ones."""
    return id.split(PLUS)


def content_hash(*parts: object) -> str:
    """16 hexadecimal digits of the SHA-256 of plain values."""
    # Sorted and without spaces: the same values give the same hash in every version.
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _example_values(examples: tuple[Example, ...]) -> list[list[object]]:
    return [
        [[list(turn) for turn in e.prompt], e.response, e.critique, e.revision, e.critique_request, e.revision_request]
        for e in examples
    ]
