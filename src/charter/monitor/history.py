"""What the probes of one accepted run counted: a JSON file, replaced whole after each probe, under the run's lock."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from charter.core.errors import DataError
from charter.core.files import write_json


class Tally(BaseModel):
    """One measure in one probe.

    Attributes:
        fresh_bad: of the fresh requests, those whose outcome was bad.
        fresh: fresh requests that were answered.
        worse: of the fixed requests, those with a bad outcome now and none in the accepted evaluation.
        better: those of which it is the other way round.
        fixed: fixed requests that were answered.
    """

    model_config = ConfigDict(frozen=True)

    fresh_bad: int
    fresh: int
    worse: int
    better: int
    fixed: int


class Probe(BaseModel):
    """One probe.

    Attributes:
        at: when it was made, in UTC.
        model: what is known of the weights that answered.
        asked: requests; each is either answered or among those that failed.
        failed: requests without an answer that could be graded, by reason.
        same: fixed requests that were answered word for word as in the accepted evaluation.
        tallies: by measure.
    """

    model_config = ConfigDict(frozen=True)

    at: str
    model: str
    asked: int
    answered: int
    failed: dict[str, int]
    same: int
    fixed: int
    tallies: dict[str, Tally]


class History(BaseModel):
    """All probes since the test began.

    Attributes:
        accepted: the run that they are held against.
        drift: the number of the probe that first showed a drift, from one; it stays until the test begins anew.
    """

    model_config = ConfigDict(frozen=True)

    accepted: str
    drift: int | None = None
    probes: tuple[Probe, ...] = ()


def history_file(folder: Path, accepted: str) -> Path:
    """Where the history of an accepted run is: another accepted run begins a separate test."""
    return folder / f"{accepted}.json"


def read_history(folder: Path, accepted: str) -> History:
    """The history as it stands; empty before the first probe.

    Raises:
        DataError: the file cannot be read.
    """
    path = history_file(folder, accepted)
    if not path.is_file():
        return History(accepted=accepted)
    try:
        return History.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise DataError(
            f"monitor's history '{path}': cannot be read: {error}. Bring it back from a copy, or delete it: the test "
            "then begins anew."
        ) from error


def write_history(folder: Path, history: History) -> Path:
    """Write it, whole or not at all."""
    return write_json(history_file(folder, history.accepted), history.model_dump(mode="json"))


def archive_history(folder: Path, accepted: str) -> Path | None:
    """Keep the history so far under another name, so that the test begins anew. Returns that path, or None."""
    path = history_file(folder, accepted)
    if not path.is_file():
        return None
    number = 1
    # Never over an earlier one: the counts are the evidence of a drift that was seen.
    while (kept := path.with_name(f"{accepted}-{number}.json")).exists():
        number += 1
    return path.rename(kept)
