"""Prompts from files, transcripts and the sandbox: each row becomes a prompt or a reject, never nothing.

A source is read once to look at all of its rows, and again for the prompts themselves, which are never held together.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from charter.config import Prompts
from charter.core.errors import DataError
from charter.core.messages import Message, Messages
from charter.data.candidates import Candidate, read_candidates
from charter.data.conversations import gist
from charter.data.duplicates import near_duplicates
from charter.data.survey import Survey, content_digest, digest_of, survey

STAGE = "prompts"


@dataclass(frozen=True)
class Prompt:
    """One conversation to answer; it ends with the user's turn."""

    row_id: str
    messages: tuple[Message, ...]
    kind: str | None
    source: str

    def row(self) -> dict[str, Any]:
        """As a row of the `prompts` schema."""
        return {"row_id": self.row_id, "prompt": list(self.messages), "kind": self.kind, "source": self.source}


@dataclass(frozen=True)
class Reject:
    """One row that is not used, and why; a row of the `failures` schema."""

    row_id: str
    reason: str
    detail: str

    def row(self) -> dict[str, Any]:
        """As a row of the `failures` schema."""
        what = {"row_id": self.row_id, "pair_id": None, "stage": STAGE, "reason": self.reason, "detail": self.detail}
        return {**what, "principle_ids": None}


@dataclass(frozen=True)
class LoadedPrompts:
    """What became of a source: ``read == len(prompts) + len(rejects) + not_drawn``."""

    prompts: tuple[Prompt, ...]
    rejects: tuple[Reject, ...]
    not_drawn: int
    read: int


class Source:
    """A source of which every row has been looked at; made by `open_source`."""

    def __init__(self, settings: Prompts, seed: int, found: Survey) -> None:
        self._settings, self._seed, self._found = settings, seed, found

    @property
    def read(self) -> int:
        """Rows of the source."""
        return len(self._found.first)

    @property
    def used(self) -> int:
        """Rows that are prompts of the run."""
        return int(np.count_nonzero(self._found.drawn))

    @property
    def not_drawn(self) -> int:
        """Prompts that the lot did not fall on."""
        originals = np.count_nonzero(self._found.first == np.arange(self.read))
        return int(originals) - len(self._found.repeats) - self.used

    def rows(self) -> Iterator[Prompt | Reject]:
        """The prompts that are used and the rows that cannot be, in their order; the source is read again for them.

        Raises:
            DataError: the source is not what it was when it was looked at.
        """
        for place, candidate in self._candidates():
            if self._found.drawn[place]:
                yield self._prompt(place, candidate)
            elif (problem := self._problem(place, candidate)) is not None:
                yield Reject(self._id(place, candidate), *problem)

    def prompts(self) -> Iterator[Prompt]:
        """Those of the rows that are prompts."""
        return (row for row in self.rows() if isinstance(row, Prompt))

    def leave_out_near_duplicates(self, share: float) -> None:
        """Do without prompts that repeat an earlier one; the words of all prompts are in memory meanwhile."""
        places, prompts = list[int](), list[Prompt]()
        for place, candidate in self._candidates():
            if self._found.drawn[place]:
                places.append(place)
                prompts.append(self._prompt(place, candidate))
        found = near_duplicates([gist(prompt.messages) for prompt in prompts], share)
        self._found.leave_out(
            {places[one.number]: f"{one.overlap:.2f} of it stands in '{prompts[one.of].row_id}'" for one in found}
        )

    def _candidates(self) -> Iterator[tuple[int, Candidate]]:
        """Each row with its place."""
        place, digests = -1, self._found.digests
        for place, candidate in enumerate(read_candidates(self._settings, self._seed)):
            if place >= len(digests) or digest_of(candidate) != digests[place]:
                raise self._changed()
            yield place, candidate
        if place + 1 != len(digests):
            raise self._changed()

    def _changed(self) -> DataError:
        return DataError(f"prompts '{self._settings.source}': changed while it was read. Run the same command again.")

    def _id(self, place: int, candidate: Candidate) -> str:
        return str(candidate.given_id) if self._found.use_given else self._found.content_id(place)

    def _prompt(self, place: int, candidate: Candidate) -> Prompt:
        return Prompt(self._id(place, candidate), candidate.messages, candidate.kind, self._settings.source)

    def _problem(self, place: int, candidate: Candidate) -> tuple[str, str] | None:
        """Why a row cannot be used, and what exactly is wrong; None for a prompt that was not drawn."""
        if candidate.reason:
            return candidate.reason, f"{candidate.where}: {candidate.detail}"
        if place in self._found.repeats:
            return "near-duplicate", self._found.repeats[place]
        if (first := int(self._found.first[place])) != place:
            return "duplicate", f"{candidate.where}: the same conversation as row {first + 1}"
        return None


def open_source(settings: Prompts, seed: int) -> Source:
    """Look at every row of the source: all prompts are used, or `settings.n` of them drawn by `seed`.

    A prompt's id and whether it is drawn depend on its content (or its id column) and the seed
    alone, so the same row keeps its id and its luck when the file is reordered or grows.

    Raises:
        DataError: the source is missing, empty or broken, lacks the column, or has no usable row.
    """
    found = survey(read_candidates(settings, seed), seed)
    if not found.drawn.any():
        raise DataError(f"prompts '{settings.source}': {_nothing_usable(found)}")
    source = Source(settings, seed, found)
    if settings.near_duplicates is not None:
        source.leave_out_near_duplicates(settings.near_duplicates)
    if settings.n is not None:
        found.draw(settings.n, seed)
    return source


def load_prompts(settings: Prompts, seed: int) -> LoadedPrompts:
    """What `open_source` finds, all of it in memory: for a few prompts.

    Raises:
        DataError: as `open_source`.
    """
    source = open_source(settings, seed)
    prompts, rejects = list[Prompt](), list[Reject]()
    for row in source.rows():
        if isinstance(row, Prompt):
            prompts.append(row)
        else:
            rejects.append(row)
    return LoadedPrompts(tuple(prompts), tuple(rejects), source.not_drawn, source.read)


def content_id(messages: Messages) -> str:
    """A conversation's id: 16 hexadecimal digits of the hash of its roles and words."""
    return f"{content_digest(messages):016x}"


def _nothing_usable(found: Survey) -> str:
    if not found.reasons:
        return "holds no rows. Put prompts into it or correct prompts.source."
    counts = ", ".join(f"{reason}: {n}" for reason, n in found.reasons.most_common())
    rows = found.reasons.total()
    return f"none of its {rows} rows can be used ({counts}); the first: {found.example}. Repair the file."
