"""What an edited constitution would cost a finished run: the completions that would be asked again."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from charter.config import Config, Judge, JudgeKind, load_config
from charter.constitution.model import Constitution, Principle, ids_in
from charter.constitution.parse import load_constitution
from charter.constitution.selection import draw, rounds_for_all, select_judges
from charter.data.shards import read_rows
from charter.errors import DataError

_COLUMNS = ("row_id", "round", "principle_id", "principle_hash", "flagged", "changed", "response", "revision")


class Recount(NamedTuple):
    """Rows of a run, those that change, and the completions to ask again; first responses never are."""

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
    principle_hash: str
    flagged: bool
    changed: bool
    response: str
    revision: str


class _Step(NamedTuple):
    """A round under the new constitution, and the round of the run that asked the same, if one did."""

    principle: Principle
    kept: _Round | None
    flagged: bool


def recount_run(run: Path, new: Constitution, likely: bool = False) -> Recount:
    """Count for a run's folder; see `recount`.

    Raises:
        DataError: the folder is not that of a run with revisions.
        ConstitutionError: its constitution cannot be read.
        ConfigError: the run selects by a tag that no principle of `new` has.
    """
    if not (run / "config.yaml").is_file():
        raise DataError(f"run '{run}': no config.yaml. Name a run's folder, such as outputs/demo.")
    old = load_constitution(run / "constitution.md")
    return recount(old, new, read_rows(run / "revisions", _COLUMNS), load_config(run / "config.yaml"), likely)


def recount(
    old: Constitution,
    new: Constitution,
    revisions: Iterable[Mapping[str, Any]],
    config: Config,
    likely: bool = False,
) -> Recount:
    """Count the completions that `new` would ask for and `old` has not.

    A round asks what it asked before when its principle says the same to the same answer, wherever in
    the chain it stands now. Any other is asked again, and so are the rounds after it, whose answer it
    may change, and the judgement of its row. A row whose answers stay is judged again only by
    principles that did not judge it before in these words. It is the most it can be, save that a
    critique is taken to find what the row's critique under that principle found before, and one that
    is new to find fault: a revision that comes out as before ends the change early, a judge that looks
    at each answer by itself (`score`, `critic`) has often seen the first one before, and a panel's
    members of one kind under one constitution ask the same.

    Args:
        old: the constitution the run was made with.
        new: the one it would be made with.
        revisions: rows of the run's ``revisions``.
        config: the run's.
        likely: count what is to be expected instead of the most: where a critique finds no fault, as the
            row's critique under that principle found none before, the answer and what follows stay.

    Raises:
        ConfigError: the run selects by a tag that no principle of `new` has.
    """
    chains: dict[str, list[_Round]] = {}
    for row in revisions:
        one = _Round(*(row[name] for name in _COLUMNS[1:]))
        chains.setdefault(row["row_id"], []).append(one)
    edit = _Edit(old, new, config, likely)
    costs = [edit.cost(row_id, sorted(chain)) for row_id, chain in chains.items()]
    sums = [sum(column) for column in zip(*costs, strict=True)] or [0, 0, 0, 0]
    return Recount(len(chains), *sums)


class _Edit:
    """The way from one constitution to another, under a run's settings."""

    def __init__(self, old: Constitution, new: Constitution, config: Config, likely: bool) -> None:
        self._old, self._new, self._config = old, new, config
        self._ends_early = likely and config.generation.revise == "flagged"
        self._prefaced = config.generation.preface and old.preface != new.preface
        self._reframed = self._prefaced or old.examples != new.examples
        self._by_run, self._by_member = (_calls(config.judge, own) for own in (False, True))
        rounds = config.generation.rounds
        self._rounds = rounds_for_all(new, config.generation.selection) if rounds == "all" else rounds

    def cost(self, row_id: str, chain: list[_Round]) -> tuple[int, int, int, int]:
        """Whether the row changes, and its critiques, revisions and judgements to ask again."""
        steps, last = self._walk(row_id, chain)
        asked = [step for step in steps if step.kept is None]
        always = self._config.generation.revise == "always"
        judgements = self._judgements(row_id, chain, steps, last)
        revised = sum(always or step.flagged for step in asked)
        return bool(asked or judgements or last != chain[-1].revision), len(asked), revised, judgements

    def _walk(self, row_id: str, chain: list[_Round]) -> tuple[list[_Step], str | None]:
        """The rounds under the new constitution, and the last answer; it is not known after a round asked again."""
        met, made = Counter[str](), dict[tuple[str, int, str], _Round]()
        for one in chain:
            met[one.principle_hash] += 1
            made[one.principle_hash, met[one.principle_hash], one.response] = one
        found = {one.principle_id: one.flagged for one in chain}
        steps, seen = list[_Step](), Counter[str]()
        answer = None if self._reframed else chain[0].response
        for number in range(self._rounds):
            drawn = draw(self._new, row_id, number, self._config.seed, self._config.generation.selection)
            seen[drawn.hash] += 1
            kept = None if answer is None else made.get((drawn.hash, seen[drawn.hash], answer))
            steps.append(_Step(drawn, kept, kept.flagged if kept else found.get(drawn.id, True)))
            if kept or steps[-1].flagged or not self._ends_early:
                answer = kept.revision if kept else None
        return steps, answer

    def _judgements(self, row_id: str, chain: list[_Round], steps: list[_Step], last: str | None) -> int:
        """Calls about the row's two answers; those of all who judge it, if the answers are other ones.

        Members of a panel with constitutions of their own choose principles by the ids of those that judge.
        """
        if last == chain[0].response:
            return 0  # a row whose answer stays is no pair
        anew = last != chain[-1].revision
        before = {id for one in chain if one.changed for id in ids_in(one.principle_id)}
        after = {p.id for step in steps if step.kept and step.kept.changed for p in step.principle.parts}
        asking, asked = self._judges(self._new, row_id, after), self._judges(self._old, row_id, before)
        wanted = {p.hash for p in asking}
        if not (anew or self._prefaced):
            wanted -= {p.hash for p in asked}
        others = anew or {p.id for p in asking} != {p.id for p in asked}
        return len(wanted) * self._by_run + others * self._config.judge.principles * self._by_member

    def _judges(self, law: Constitution, row_id: str, shaped: Collection[str]) -> tuple[Principle, ...]:
        """Those who judge a row, chosen as `charter.stages.judge` does."""
        judging = self._config.judge
        return select_judges(law, row_id, self._config.seed, shaped, judging.principles, judging.tags)


def _calls(judge: Judge, own: bool) -> int:
    """Calls per principle and pair: in two orders or about two answers, and for every chain of thought."""
    return sum(2 * (judge.samples if kind == "reasoned" else 1) for kind in _kinds(judge, own))


def _kinds(judge: Judge, own: bool) -> list[JudgeKind]:
    """The kind of each judge that goes by the run's constitution or, if `own`, by one of its own."""
    if judge.kind != "panel":
        return [] if own else [judge.kind]
    return [member.kind for member in judge.panel if (member.constitution is not None) == own]
