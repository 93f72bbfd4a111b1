"""The set of prompts on which models failed, in versions: each a folder, whole or absent, and never written again.

``v0003/prompts.jsonl`` holds all that was found so far and can be a run's `prompts.source`; ``version.json`` says how
it came about, and names the version before it by its hash.
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
from charter.pipeline.rows import Row

PROMPTS, VERSION = "prompts.jsonl", "version.json"
UNFINISHED = ".unfinished"
"""The folder of the version that is being made."""


class Version(BaseModel):
    """One version.

    Attributes:
        hash: SHA-256 of its prompts.
        parent: the hash of the version before it; None for the first.
        rows: prompts in it.
        added: those that are new in it.
        made: when, in UTC.
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
    """Where a version is."""
    return folder / f"v{number:04d}"


def newest(folder: Path) -> Version | None:
    """The last version; None where there is none.

    Raises:
        DataError: it was changed, or cannot be read.
    """
    numbers = [int(path.parent.name[1:]) for path in folder.glob(f"v[0-9][0-9][0-9][0-9]/{VERSION}")]
    if not numbers:
        return None
    at = version_folder(folder, max(numbers))
    advice = "Bring it back from a copy, or delete its folder: the version before it is then the last one."
    try:
        version = Version.model_validate_json((at / VERSION).read_text(encoding="utf-8"))
        found = _hash((at / PROMPTS).read_bytes())
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise DataError(f"prompt set '{at}': cannot be read: {error}. {advice}") from error
    if found != version.hash:
        raise DataError(f"prompt set '{at / PROMPTS}': was changed since it was made. {advice}")
    return version


def read_set(folder: Path, version: Version | None) -> list[dict[str, Any]]:
    """The prompts of a version; none where there is no version."""
    if version is None:
        return []
    text = (version_folder(folder, version.number) / PROMPTS).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def next_number(last: Version | None) -> int:
    """The number of the version after the last one."""
    return last.number + 1 if last else 1


def begin_version(folder: Path) -> Path:
    """An empty folder in which the next version is made; what a run that was killed left there goes."""
    unfinished = folder / UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    return unfinished


def draft_version(folder: Path, found: Iterable[Row], made: str, lineage: dict[str, Any]) -> Version:
    """Write the prompts that were found after those of the last version, in the folder of the next one.

    Raises:
        DataError: the last version was changed.
    """
    before, new = newest(folder), list(found)
    earlier = read_set(folder, before)
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in [*earlier, *new]).encode()
    (folder / UNFINISHED / PROMPTS).write_bytes(content)
    return Version(
        number=next_number(before),
        hash=_hash(content),
        parent=before.hash if before else None,
        rows=len(earlier) + len(new),
        added=len(new),
        made=made,
        lineage=lineage,
    )


def finish_version(folder: Path, version: Version) -> Path:
    """Give the next version's folder its name, with its lineage in it: from now on it is there, and stays as it is."""
    write_json(folder / UNFINISHED / VERSION, version.model_dump(mode="json"))
    sync_tree(folder / UNFINISHED)
    finished = (folder / UNFINISHED).rename(version_folder(folder, version.number))
    sync(folder)
    return finished


def _hash(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
