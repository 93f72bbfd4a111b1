"""What an edited constitution would cost a finished run: the completions that would be asked again."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from charter.config import load_config
from charter.constitution.model import Constitution, Principle, content_hash
from charter.constitution.parse import load_constitution
from charter.constitution.selection import select
from charter.data.shards import read_rows
from charter.errors import DataError

_COLUMNS = ("row_id", "round", "principle_id", "flagged", "changed")


class Recount(NamedTuple):
    """Rows of a run, those that change, and the completions to ask again at most; first responses never are."""

    rows: int
    rows_changed: int
    critiques: int
    revisions: int
    judgements: int

    @property
    def completions(self) -> int:
        """All calls together."""
        return self.critiques + self.revisions + self.judgements


class _Round(NamedTuple):
    number: int
    principle_id: str
    flagged: bool
    changed: bool


def recount_run(run: Path, new: Constitution) -> Recount:
    """Count for a run's folder.

    Raises:
        DataError: the folder is not that of a run with revisions.
        ConstitutionError: its constitution cannot be read.
    """
    if not (run / "config.yaml").is_file():
        raise DataError(f"run '{run}': no config.yaml. Name a run's folder, such as outputs/demo.")
    config = load_config(run / "config.yaml")
    old = load_constitution(run / "constitution.md")
    rows = read_rows(run / "revisions", _COLUMNS)
    return recount(old, new, rows, config.seed, config.judge.principles)


def recount(
    old: Constitution, new: Constitution, revisions: Iterable[Mapping[str, Any]], seed: int, judging: int
) -> Recount:
    """Count the completions that `new` would ask for and `old` has not.

    A round that draws another principle, or one that says something else now, is asked again, and
    so is every round after it and the judgement of its row. A row whose chain stays is judged again
    only by principles that did not judge it before in these words. It is the most it can be: a
    revision that comes out as before ends the change early.

    Args:
        old: the constitution the run was made with.
        new: the one it would be made with.
        revisions: rows of the run's ``revisions``.
        seed: the run's.
        judging: how many principles judge a pair.
    """
    before, after = _hashes(old), _hashes(new)
    chains: dict[str, list[_Round]] = {}
    for row in revisions:
        one = _Round(row["round"], row["principle_id"], row["flagged"], row["changed"])
        chains.setdefault(row["row_id"], []).append(one)
    changed = critiques = revised = judged = 0
    for row_id, chain in chains.items():
        chain.sort()
        stale = _stale(chain, row_id, new, before, after, seed)
        critiques += len(stale)
        revised += sum(r.flagged for r in stale)
        asked = {(p.id, before[p.id]) for p in _judges(old, row_id, chain, seed, judging)}
        wanted = {(p.id, after[p.id]) for p in _judges(new, row_id, chain, seed, judging)}
        judged_before = any(r.changed for r in chain)  # a row that never changed is no pair
        fresh = len(wanted if stale else wanted - asked) if stale or judged_before else 0
        judged += 2 * fresh
        changed += bool(stale or fresh)
    return Recount(len(chains), changed, critiques, revised, judged)


def _stale(
    chain: list[_Round], row_id: str, new: Constitution, before: Mapping[str, str], after: Mapping[str, str], seed: int
) -> list[_Round]:
    for index, one in enumerate(chain):
        (drawn,) = select(new, row_id, one.number, seed, 1)
        if drawn.id != one.principle_id or after[drawn.id] != before.get(drawn.id):
            return chain[index:]
    return []


def _judges(law: Constitution, row_id: str, chain: list[_Round], seed: int, judging: int) -> list[Principle]:
    """As `charter.stages.judge` chooses them: those that shaped the row, then others drawn for it."""
    wanted = min(judging, len(law.principles))
    shaped = [p for p in law.principles if p.id in {r.principle_id for r in chain if r.changed}]
    drawn = select(law, f"{row_id}/judge", 0, seed, wanted)
    return (shaped + [p for p in drawn if p not in shaped])[:wanted]


def _hashes(law: Constitution) -> dict[str, str]:
    """What is asked under each principle, the examples shown with all of them included."""
    return {p.id: content_hash(p.hash, [repr(e) for e in law.examples]) for p in law.principles}
