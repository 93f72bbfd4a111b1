"""Prompts from files, transcripts and the sandbox: each row becomes a prompt or a reject, never nothing.

A source is read once for a survey of all its rows, and again for the prompts, which are never all in memory.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from charter.config import Prompts
from charter.core.errors import DataError
from charter.core.messages import Message
from charter.data.candidates import read_candidates
from charter.data.survey import Survey, candidate_digest, survey_candidates

logger = logging.getLogger(__name__)

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
        return {
            "row_id": self.row_id,
            "pair_id": None,
            "stage": STAGE,
            "reason": self.reason,
            "detail": self.detail,
            "principle_ids": None,
        }


@dataclass(frozen=True)
class LoadedPrompts:
    """What became of a source: ``read == len(prompts) + len(rejects) + not_drawn``."""

    prompts: tuple[Prompt, ...]
    rejects: tuple[Reject, ...]
    not_drawn: int
    read: int


@dataclass(frozen=True)
class SurveyedSource:
    """A source of prompts whose rows have all been read and examined; made by `open_source`.

    It holds numbers about the rows and never the rows themselves, so it is cheap to keep and to pass on. Each call of
    `rows` or `prompts` reads the source once more.
    """

    settings: Prompts
    seed: int
    survey: Survey

    @property
    def read(self) -> int:
        """The number of rows of the source."""
        return len(self.survey.first)

    @property
    def used(self) -> int:
        """The number of rows that are prompts of the run."""
        return int(np.count_nonzero(self.survey.drawn))

    @property
    def not_drawn(self) -> int:
        """The number of usable prompts that were not drawn."""
        originals = np.count_nonzero(self.survey.first == np.arange(self.read))
        return int(originals) - len(self.survey.repeats) - self.used

    def rows(self) -> Iterator[Prompt | Reject]:
        """The prompts that are used and the rows that cannot be, in the order of the source.

        Raises:
            DataError: the source has changed since the survey.
        """
        digests, repeats, first = self.survey.digests, self.survey.repeats, self.survey.first
        changed = DataError(f"prompts '{self.settings.source}': changed while it was read. Run the same command again.")
        place = -1
        for place, candidate in enumerate(read_candidates(self.settings, self.seed)):
            if place >= len(digests) or candidate_digest(candidate) != digests[place]:
                raise changed
            row_id = str(candidate.given_id) if self.survey.use_given else self.survey.content_id(place)
            if self.survey.drawn[place]:
                yield Prompt(row_id, candidate.messages, candidate.kind, self.settings.source)
            elif candidate.reason:
                yield Reject(row_id, candidate.reason, f"{candidate.where}: {candidate.detail}")
            elif place in repeats:
                yield Reject(row_id, "near-duplicate", repeats[place])
            elif (original := int(first[place])) != place:
                detail = f"{candidate.where}: the same conversation as row {original + 1}"
                yield Reject(row_id, "duplicate", detail)
        if place + 1 != len(digests):
            raise changed

    def prompts(self) -> Iterator[Prompt]:
        """Those of the rows that are prompts."""
        return (row for row in self.rows() if isinstance(row, Prompt))


def open_source(settings: Prompts, seed: int) -> SurveyedSource:
    """Look at every row of the source once: all prompts are used, or `settings.n` of them drawn by `seed`.

    A prompt's id, and whether it is drawn, depend on its content (or its id column) and the seed alone, so a row keeps
    both when the file is reordered or grows.

    Raises:
        DataError: the source is missing, empty or broken, lacks the column, or has no usable row.
    """
    survey = survey_candidates(read_candidates(settings, seed), seed, settings.near_duplicates)
    if not survey.drawn.any():
        rows = survey.reasons.total()
        if not rows:
            raise DataError(
                f"prompts '{settings.source}': holds no rows. Put prompts into it or correct prompts.source."
            )
        counts = ", ".join(f"{reason}: {n}" for reason, n in survey.reasons.most_common())
        raise DataError(
            f"prompts '{settings.source}': none of its {rows} rows can be used ({counts}); the first: {survey.example}."
            " Repair the file."
        )
    if repeated := len(survey.sort_keys) - len(np.unique(survey.sort_keys)):
        logger.warning(
            "prompts '%s': %d rows repeat the id of another row. All rows get ids made of their content; correct the id"
            " column to keep its ids.",
            settings.source,
            repeated,
        )
    if settings.n is not None:
        survey.draw(settings.n, seed)
    return SurveyedSource(settings, seed, survey)


def check_source(settings: Prompts, seed: int) -> None:
    """Check a source without reading it whole: no further than its first usable row.

    Raises:
        DataError: as `open_source`.
    """
    if all(candidate.reason for candidate in read_candidates(settings, seed)):
        open_source(settings, seed)  # counts what is wrong with the rows, and raises


def load_prompts(settings: Prompts, seed: int) -> LoadedPrompts:
    """As `open_source`, with all rows in memory: for a few prompts.

    Raises:
        DataError: as `open_source`.
    """
    source = open_source(settings, seed)
    rows = list(source.rows())
    prompts = tuple(row for row in rows if isinstance(row, Prompt))
    rejects = tuple(row for row in rows if isinstance(row, Reject))
    return LoadedPrompts(prompts, rejects, source.not_drawn, source.read)
