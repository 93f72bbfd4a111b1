"""What an edited constitution would cost a finished run: the completions that would have to be generated again."""

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

_UNKNOWN_ANSWER = "\0an answer that does not exist yet"
"""Takes the place of an answer that must be generated again. No model writes it, so a request with it is new."""


class EditCost(NamedTuple):
    """Rows of a run, those that change, and the completions to generate again; first responses never are.

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


class _RunRound(NamedTuple):
    """A round of the run, as its ``revisions`` hold it."""

    number: int
    principle_id: str
    principle_hash: str
    flagged: bool
    changed: bool
    response: str
    revision: str


class _NewRound(NamedTuple):
    """A round under the new constitution; `same` is the round of the run that made the same request, if one did."""

    principle: Principle
    same: _RunRound | None
    flagged: bool


def edit_cost_of_run(run: Path, new: Constitution, likely: bool = False) -> EditCost:
    """Count for a run's folder; see `count_edit_cost`.

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
    return asyncio.run(count_edit_cost(old, new, read_rows(run / "revisions", _COLUMNS), config, likely, prompts))


async def count_edit_cost(
    old: Constitution,
    new: Constitution,
    revisions: Iterable[Mapping[str, Any]],
    config: Config,
    likely: bool = False,
    prompts: Mapping[str, Messages] | None = None,
) -> EditCost:
    """Count the completions that a run needs under `new` and has not generated under `old`.

    A round makes the same request as before if its principle has the same hash and it gets the same answer, in
    whichever round that was. Any other round is generated again, and so are the rounds after it, because it may change
    their answer. The judge, of whatever kind, is called with a model that only records the requests, on the old answers
    and on the new ones; requests that only the new ones make count.

    The count is an upper bound, with one exception: a critique is assumed to find what the row's critique under that
    principle found before, and a new one to find a fault. A revision that comes out unchanged, or a pair that a filter
    drops, ends a row early.

    Args:
        old: the constitution the run was made with.
        new: the edited one.
        revisions: rows of the run's ``revisions``.
        config: the run's.
        likely: count the expected cost instead of the upper bound: where a critique finds no fault, as the row's
            critique under that principle found none before, the answer and what follows from it stay.
        prompts: of each row by its id. Needed only for an exact count with panel members that have their own
            constitution, because they draw principles by the prompt.

    Raises:
        ConfigError: the run selects by a tag that no principle of `new` has.
        ConstitutionError: the constitution of a panel's member cannot be read.
    """
    rows: dict[str, list[_RunRound]] = {}
    for row in revisions:
        rows.setdefault(row["row_id"], []).append(_RunRound(*(row[name] for name in _COLUMNS[1:])))
    edit = _Edit(old, new, config, likely, prompts or {})
    costs = [await edit.cost(row_id, sorted(rounds)) for row_id, rounds in rows.items()]
    changed, critiques, revised, judgements = map(sum, zip(*costs, strict=True)) if costs else (0, 0, 0, 0)
    shares = config.pairs.strategies.shares
    uncounted = tuple(name for name, share in shares.items() if share and name != "revision")
    return EditCost(len(rows), changed, critiques, revised, judgements, uncounted)


class _Edit:
    """The change from one constitution to another, under a run's settings."""

    def __init__(
        self, old: Constitution, new: Constitution, config: Config, likely: bool, prompts: Mapping[str, Messages]
    ) -> None:
        self._old, self._new, self._config, self._prompts = old, new, config, prompts
        self._ends_early = likely and config.generation.revise == "flagged"
        # The preface and the shared examples are part of every request.
        prefaced = config.generation.preface and old.preface != new.preface
        self._every_request_changes = prefaced or old.examples != new.examples
        # The real judge makes the requests, so that they are the ones a run would make; no server is asked.
        self._judge = judge_of(config.judge)
        rounds = config.generation.rounds
        self._rounds = rounds_for_all(new, config.generation.selection) if rounds == "all" else rounds

    async def cost(self, row_id: str, rounds: list[_RunRound]) -> tuple[int, int, int, int]:
        """Whether the row changes, and its critiques, revisions and judgements to generate again."""
        # A round without an equal in the run is generated again, with its critique.
        new_rounds, last = self._new_rounds(row_id, rounds)
        again = [one for one in new_rounds if one.same is None]
        judgements = await self._judgements(row_id, rounds, new_rounds, last)
        revised = sum(map(self._revises, again))
        return bool(again or judgements or last != rounds[-1].revision), len(again), revised, judgements

    def _new_rounds(self, row_id: str, rounds: list[_RunRound]) -> tuple[list[_NewRound], str | None]:
        """The rounds under the new constitution, and the last answer; None if it must be generated again."""
        # A principle can come up twice in a row. The seed of a request depends on how often it did before.
        occurrences, run_rounds = Counter[str](), dict[tuple[str, int, str], _RunRound]()
        for one in rounds:
            occurrences[one.principle_hash] += 1
            run_rounds[one.principle_hash, occurrences[one.principle_hash], one.response] = one
        # By id: an edited principle most likely finds what it found before.
        flagged_before = {one.principle_id: one.flagged for one in rounds}

        new_rounds, occurrences = list[_NewRound](), Counter[str]()
        # None never equals an answer of the run, so every round that follows is generated again.
        answer = None if self._every_request_changes else rounds[0].response
        selection = self._config.generation.selection
        for principle in draw_principles(self._new, row_id, self._rounds, self._config.seed, selection):
            occurrences[principle.hash] += 1
            key = (principle.hash, occurrences[principle.hash])
            same = None if answer is None else run_rounds.get((*key, answer))
            # A new principle is assumed to find a fault, since the count is an upper bound.
            flagged = same.flagged if same else flagged_before.get(principle.id, True)
            new_rounds.append(_NewRound(principle, same, flagged))
            if same:
                answer = same.revision
            # A revision may follow, which would change the answer for all later rounds.
            elif flagged or not self._ends_early:
                answer = None
        return new_rounds, answer

    def _revises(self, one: _NewRound) -> bool:
        return self._config.generation.revise == "always" or one.flagged

    async def _judgements(
        self, row_id: str, rounds: list[_RunRound], new_rounds: list[_NewRound], last: str | None
    ) -> int:
        """Requests of the judge about the row's two answers that are new; `last` is the new answer, if known."""
        first, former = rounds[0].response, rounds[-1].revision
        changing = [one for one in new_rounds if (one.same.changed if one.same else self._revises(one))]
        new_judges = self._judges(self._new, row_id, {p.id for one in changing for p in one.principle.parts})
        # Principles that changed the answer judge first, so they decide which principles judge.
        shaped_before = {id for one in rounds if one.changed for id in ids_in(one.principle_id)}
        old_judges = self._judges(self._old, row_id, shaped_before)
        # The same answers under the same judges make the same requests.
        if last == first or (last == former and new_judges == old_judges):
            return 0  # without a revision there is no pair
        answer = _UNKNOWN_ANSWER if last is None else last
        needed = await self._judge_requests(self._new, row_id, first, answer, new_judges)
        made: set[bytes] = set()
        if former != first:
            made = await self._judge_requests(self._old, row_id, first, former, old_judges)
        return len(needed - made)

    def _judges(self, constitution: Constitution, row_id: str, shaped: Collection[str]) -> tuple[Principle, ...]:
        """The principles that judge a row, selected as in `charter.pipeline.judge`."""
        settings = self._config.judge
        return select_judges(constitution, row_id, self._config.seed, shaped, settings.principles, settings.tags)

    async def _judge_requests(
        self, constitution: Constitution, row_id: str, first: str, last: str, principles: Sequence[Principle]
    ) -> set[bytes]:
        """The store keys of the requests that the judge makes about two answers."""
        keys, settings = set[bytes](), self._config.generation

        async def record(messages: Messages, sampling: Sampling, member: str = "") -> Completion:
            # Members on different servers may ask the same question, so the name is a part of the key.
            keys.add(request_key(member, messages, sampling))
            # An answer that leaves every choice open, so that a judge asks all that it may ask.
            equal = tuple(1 / len(sampling.choices) for _ in sampling.choices)
            return Completion("Verdict: respected", "stop", 0, 0, choice_probs=equal)

        with_own_model = [member.name for member in self._config.judge.panel if member.base_urls]
        members = {name: ModelHandle(partial(record, member=name), name) for name in with_own_model}
        context = StageContext(
            record, constitution, self._config.seed, "", settings.templates, settings.preface, members
        )
        # Any prompt will do: old and new requests are compared with each other, and have the same one.
        prompt = self._prompts.get(row_id) or [user(row_id)]
        await self._judge(prompt, first.strip(), last.strip(), principles, context)
        return keys
