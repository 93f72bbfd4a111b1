"""The set of prompts on which models failed, in versions: each is a folder that is complete or absent, and immutable.

``v0003/prompts.jsonl`` holds every prompt up to that version and can be a run's `prompts.source`; ``version.json``
records how the version was made, and names its parent by its hash. Steps pass their rows on in the folder
``.unfinished``, which becomes the version's folder at the end.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from charter.core.errors import DataError
from charter.core.files import sync, sync_tree, write_json
from charter.data.schema import SCHEMAS
from charter.data.shards import read_rows, write_rows
from charter.inference.engine import EngineStats
from charter.pipeline.counts import StageCount, count_stage
from charter.pipeline.rows import Outcome, Row

PROMPTS, VERSION, REQUESTS, ATTEMPTS = "prompts.jsonl", "version.json", "requests.jsonl", "attempts.jsonl"
UNFINISHED = ".unfinished"
"""The folder of the version that is in progress."""


class Version(BaseModel):
    """One version.

    Attributes:
        hash: SHA-256 of its prompts.
        parent: the hash of the version before it; None for the first.
        rows: prompts in it.
        added: those that are new in it.
        made: time in UTC.
        lineage: the models, the constitution and the settings that it was made with.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    hash: str
    parent: str | None
    rows: int
    added: int
    made: str
    lineage: dict[str, Any]


def version_folder(folder: Path, number: int) -> Path:
    """The folder of a version."""
    return folder / f"v{number:04d}"


def newest(folder: Path) -> Version | None:
    """The last version; None if there is no version.

    Raises:
        DataError: it was changed, or cannot be read.
    """
    # version.json is written last: a folder without it was not finished.
    numbers = [int(path.parent.name[1:]) for path in folder.glob(f"v[0-9][0-9][0-9][0-9]/{VERSION}")]
    if not numbers:
        return None
    last = version_folder(folder, max(numbers))
    advice = "Bring it back from a copy, or delete its folder: the version before it is then the last one."
    try:
        version = Version.model_validate_json((last / VERSION).read_text(encoding="utf-8"))
        current_hash = _hash((last / PROMPTS).read_bytes())
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise DataError(f"prompt set '{last}': cannot be read: {error}. {advice}") from error
    # Runs name a version by its hash, so a changed one would no longer be what they were trained on.
    if current_hash != version.hash:
        raise DataError(f"prompt set '{last / PROMPTS}': was changed since it was made. {advice}")
    return version


def next_number(last: Version | None) -> int:
    """The number of the version after the last one."""
    return last.number + 1 if last else 1


def read_set(folder: Path, version: Version | None) -> list[dict[str, Any]]:
    """The prompts of a version; an empty list without a version."""
    return _read_lines(version_folder(folder, version.number) / PROMPTS) if version else []


def begin_version(folder: Path) -> Path:
    """An empty folder for the next version; what a killed run left there is deleted."""
    unfinished = folder / UNFINISHED
    # Nothing is lost: answers are in the store, and rows of a killed run are made again from there.
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    return unfinished


def write_step(folder: Path, name: str, rows: Iterable[Row]) -> None:
    """Write a step's rows for the next step."""
    (folder / UNFINISHED / name).write_bytes(_lines(rows))


def read_step(folder: Path, name: str) -> list[dict[str, Any]]:
    """The rows that `write_step` wrote."""
    return _read_lines(folder / UNFINISHED / name)


def keep_failures(
    folder: Path, stage: str, rows_in: int, outcome: Outcome, stats: EngineStats | None = None, started: float = 0.0
) -> StageCount:
    """Write the rows that failed at a stage with their reasons, and count the stage.

    Raises:
        CountMismatch: a row neither came out nor failed.
    """
    write_rows(folder / UNFINISHED / "failures" / f"{stage}.parquet", SCHEMAS["failures"], outcome.failures)
    if stats is None:
        return StageCount(stage, rows_in, len(outcome.rows), len(outcome.failures))
    return count_stage(stage, rows_in, len(outcome.rows), len(outcome.failures), stats, started)


def read_failures(folder: Path) -> list[dict[str, Any]]:
    """The failures of all stages."""
    return list(read_rows(folder / UNFINISHED / "failures"))


def draft_version(folder: Path, new: Iterable[Row], made: str, lineage: dict[str, Any]) -> Version:
    """Write the prompts of the last version and the new ones into the unfinished folder.

    Raises:
        DataError: the last version was changed.
    """
    last, new = newest(folder), list(new)
    # A version holds all prompts, so that it alone can be a run's source.
    earlier = read_set(folder, last)
    content = _lines([*earlier, *new])
    (folder / UNFINISHED / PROMPTS).write_bytes(content)
    return Version(
        number=next_number(last),
        hash=_hash(content),
        parent=last.hash if last else None,
        rows=len(earlier) + len(new),
        added=len(new),
        made=made,
        lineage=lineage,
    )


def finish_version(folder: Path, version: Version) -> Path:
    """Write ``version.json`` and rename the unfinished folder; the version then exists, and never changes."""
    write_json(folder / UNFINISHED / VERSION, version.model_dump(mode="json"))
    # Synced before the rename: a power cut must not leave a version with empty files.
    sync_tree(folder / UNFINISHED)
    finished = (folder / UNFINISHED).rename(version_folder(folder, version.number))
    sync(folder)
    return finished


def _lines(rows: Iterable[Row]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _read_lines(path: Path) -> list[dict[str, Any]]:
    # Not `splitlines`: JSON may hold U+2028 and the like, at which it would split too.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def _hash(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
