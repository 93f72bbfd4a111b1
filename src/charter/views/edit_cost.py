"""What an edited constitution would cost a finished run: the completions that would be asked again."""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from charter.config import Config, load_config
from charter.constitution.kept import load_kept_constitution
from charter.constitution.model import Constitution, Principle, ids_in
from charter.constitution.selection import draw_principles, rounds_for_all, select_judges
from charter.core.errors import DataError
from charter.core.messages import Messages, user
from charter.data.shards import read_rows
from charter.inference.completion import Completion, Sampling, request_key
from charter.pipeline.judges.kinds import judge_of
from charter.pipeline.rows import ModelHandle, StageContext
from charter.runs.folder import judge_settings

_COLUMNS = ("row_id", "round", "principle_id", "principle_hash", "flagged", "changed", "response", "revision")


_NEW = "\0an answer that nobody has given yet"


class Recount(NamedTuple):
    """Rows of a run, those that change, and the completions to ask again; first responses never are.

    `uncounted` names strategies of the run whose pairs are judged as well, but not counted here.
    """

    rows: int
    rows_changed: int
    critiques: int
    revisions: int
    judgements: int
    uncounted: tuple[str, ...] = ()

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
        ConstitutionError: its constitution, or that of a panel's member, cannot be read.
        ConfigError: the run selects by a tag that no principle of `new` has.
    """
    if not (run / "config.yaml").is_file():
        raise DataError(f"run '{run}': no config.yaml. Name a run's folder, such as outputs/demo.")
    old, config = load_kept_constitution(run), load_config(run / "config.yaml")
    config = config.model_copy(update={"judge": judge_settings(run, config)})
    prompts: dict[str, Messages] = {}
    if any(member.constitution for member in config.judge.panel):
        prompts = {row["row_id"]: row["prompt"] for row in read_rows(run / "responses", ("row_id", "prompt"))}
    return asyncio.run(recount(old, new, read_rows(run / "revisions", _COLUMNS), config, likely, prompts))


async def recount(
    old: Constitution,
    new: Constitution,
    revisions: Iterable[Mapping[str, Any]],
    config: Config,
    likely: bool = False,
    prompts: Mapping[str, Messages] | None = None,
) -> Recount:
    """Count the completions that `new` would ask for and `old` has not.

    A round asks what it asked before when its principle says the same to the same answer, wherever in
    the chain it stands now. Any other is asked again, and so are the rounds after it, whose answer it
    may change. The judge, of whatever kind, is made to ask its questions of nobody, about the old
    answers and the new: those count that are new. It is the most it can be, save that a critique is
    taken to find what the row's critique under that principle found before, and one that is new to
    find fault: a revision that comes out as before, or a pair that a filter takes, ends it early.

    Args:
        old: the constitution the run was made with.
        new: the one it would be made with.
        revisions: rows of the run's ``revisions``.
        config: the run's.
        likely: count what is to be expected instead of the most: where a critique finds no fault, as the
            row's critique under that principle found none before, the answer and what follows stay.
        prompts: of each row by its id; only the members of a panel that have constitutions of their own, and
            draw principles by the prompt, are counted better for it.

    Raises:
        ConfigError: the run selects by a tag that no principle of `new` has.
        ConstitutionError: the constitution of a panel's member cannot be read.
    """
    chains: dict[str, list[_Round]] = {}
    for row in revisions:
        one = _Round(*(row[name] for name in _COLUMNS[1:]))
        chains.setdefault(row["row_id"], []).append(one)
    edit = _Edit(old, new, config, likely, prompts or {})
    costs = [await edit.cost(row_id, sorted(chain)) for row_id, chain in chains.items()]
    changed, critiques, revised, judgements = map(sum, zip(*costs, strict=True)) if costs else (0, 0, 0, 0)
    shares = config.pairs.strategies.model_dump(by_alias=True)
    uncounted = tuple(name for name, share in shares.items() if share and name != "revision")
    return Recount(len(chains), changed, critiques, revised, judgements, uncounted)


class _Edit:
    """The way from one constitution to another, under a run's settings."""

    def __init__(
        self, old: Constitution, new: Constitution, config: Config, likely: bool, prompts: Mapping[str, Messages]
    ) -> None:
        self._old, self._new, self._config, self._prompts = old, new, config, prompts
        self._ends_early = likely and config.generation.revise == "flagged"
        prefaced = config.generation.preface and old.preface != new.preface
        self._reframed = prefaced or old.examples != new.examples
        self._compare = judge_of(config.judge)
        rounds = config.generation.rounds
        self._rounds = rounds_for_all(new, config.generation.selection) if rounds == "all" else rounds

    async def cost(self, row_id: str, chain: list[_Round]) -> tuple[int, int, int, int]:
        """Whether the row changes, and its critiques, revisions and judgements to ask again."""
        steps, last = self._walk(row_id, chain)
        asked = [step for step in steps if step.kept is None]
        judgements = await self._judgements(row_id, chain, steps, last)
        revised = sum(map(self._revises, asked))
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
        for drawn in draw_principles(
            self._new, row_id, self._rounds, self._config.seed, self._config.generation.selection
        ):
            seen[drawn.hash] += 1
            kept = None if answer is None else made.get((drawn.hash, seen[drawn.hash], answer))
            steps.append(_Step(drawn, kept, kept.flagged if kept else found.get(drawn.id, True)))
            if kept or steps[-1].flagged or not self._ends_early:
                answer = kept.revision if kept else None
        return steps, answer

    def _revises(self, step: _Step) -> bool:
        return self._config.generation.revise == "always" or step.flagged

    async def _judgements(self, row_id: str, chain: list[_Round], steps: list[_Step], last: str | None) -> int:
        """Questions about the row's two answers that were not asked before; `last` is the new one, if it is known."""
        first, former = chain[0].response, chain[-1].revision
        changing = [step for step in steps if (step.kept.changed if step.kept else self._revises(step))]
        asking = self._judges(self._new, row_id, {p.id for step in changing for p in step.principle.parts})
        before = {id for one in chain if one.changed for id in ids_in(one.principle_id)}
        asked = self._judges(self._old, row_id, before)
        if last == first or (last == former and asking == asked):
            return 0  # a row whose answer stays is no pair
        wanted = await self._questions(self._new, row_id, first, _NEW if last is None else last, asking)
        known = await self._questions(self._old, row_id, first, former, asked) if former != first else set()
        return len(wanted - known)

    def _judges(self, law: Constitution, row_id: str, shaped: Collection[str]) -> tuple[Principle, ...]:
        """Those who judge a row, chosen as `charter.pipeline.judge` does."""
        judging = self._config.judge
        return select_judges(law, row_id, self._config.seed, shaped, judging.principles, judging.tags)

    async def _questions(
        self, law: Constitution, row_id: str, first: str, last: str, principles: Sequence[Principle]
    ) -> set[bytes]:
        """The keys of what the judge asks about two answers."""
        keys, settings = set[bytes](), self._config.generation

        async def ask(messages: Messages, sampling: Sampling, member: str = "") -> Completion:
            keys.add(request_key(member, messages, sampling))
            equal = tuple(1 / len(sampling.choices) for _ in sampling.choices)
            return Completion("Verdict: respected", "stop", 0, 0, choice_probs=equal)

        elsewhere = [member.name for member in self._config.judge.panel if member.base_urls]
        members = {name: ModelHandle(partial(ask, member=name), name) for name in elsewhere}
        context = StageContext(ask, law, self._config.seed, "", settings.templates, settings.preface, members)
        prompt = self._prompts.get(row_id) or [user(row_id)]
        await self._compare(prompt, first.strip(), last.strip(), principles, context)
        return keys
