"""Pair strategies: each is a function from the material of a row to its candidate pairs."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from charter.config import Filters, Pairs
from charter.constitution import ids_in
from charter.core.plugins import Registry
from charter.core.sampling import seed_of
from charter.pipeline.filters import fault_of_answer, is_same
from charter.pipeline.judge import BEST_WORST
from charter.pipeline.pair import in_sft_half
from charter.pipeline.rows import Outcome, Row, failure


class Material(NamedTuple):
    """The answers and rounds of a row, from which pairs are made.

    Attributes:
        row: with its `first` and `last` answer, as `walked_rows` gives it.
        rounds: its rows of ``revisions``, in order.
        answers: independent answers to its prompt: the first one, then its ``samples`` in order.
    """

    row: Row
    rounds: Sequence[Row]
    answers: Sequence[str]

    @property
    def on_policy(self) -> bool:
        """Whether the model that answered, which DPO trains, is another one than the model that critiqued."""
        return any(round["model_identity"] != self.row["model_identity"] for round in self.rounds)


class AnswerPair(NamedTuple):
    """Two answers to be compared, and the ids of the principles under which one became the other."""

    first: str
    last: str
    principle_ids: Sequence[str] = ()


PairMaker = Callable[[Material], Iterable[AnswerPair]]


@dataclass(frozen=True)
class Strategy:
    """A registered pair strategy.

    Attributes:
        pairs: makes the pairs of a row.
        answers: how many independent answers to the prompt it needs, the first one included; None for
            `pairs.answers_per_prompt`.
        applies: whether a row can use it; further answers are sampled only if so.
    """

    pairs: PairMaker
    answers: int | None = 1
    applies: Callable[[Material], bool] = lambda material: True


STRATEGIES: Registry[Strategy] = Registry("pair strategy", "pairs.strategies.custom")


def strategy(
    name: str, answers: int | None = 1, applies: Callable[[Material], bool] = lambda material: True
) -> Callable[[PairMaker], PairMaker]:
    """Decorator: make a function available as a pair strategy; the arguments are those of `Strategy`."""

    def register(pairs: PairMaker) -> PairMaker:
        STRATEGIES.add(name, Strategy(pairs, answers, applies))
        return pairs

    return register


@dataclass(frozen=True)
class Plan:
    """Which strategies apply to each row, drawn from the seed and the row's id."""

    settings: Pairs
    sft_share: float
    seed: int

    def strategies(self, material: Material) -> list[str]:
        """The names of the strategies that are drawn for a row, in the order of the configuration."""
        row = material.row
        if in_sft_half(row["prompt"], self.sft_share):
            return ["revision"]  # SFT learns a revision, and only if the judge prefers it: no other pair helps it
        return [
            name
            # A draw for each name: another strategy's share never changes which rows this one is drawn for.
            for name, share in self.settings.strategies.shares.items()
            if seed_of(self.seed, "pair", name, row["row_id"]) < share * 2**31 and STRATEGIES[name].applies(material)
        ]

    def samples(self, material: Material) -> int:
        """How many answers a row's strategies need besides the first one."""
        needed = [STRATEGIES[name].answers for name in self.strategies(material)]
        return max((self.settings.answers_per_prompt if n is None else n for n in needed), default=1) - 1


def gather(walked: Sequence[Row], revisions: Sequence[Row], samples: Sequence[Row] = ()) -> list[Material]:
    """The material of each walked row, in their order."""
    rounds, answers = defaultdict[str, list[Row]](list), defaultdict[str, list[str]](list)
    for row in sorted(revisions, key=lambda row: int(row["round"])):
        rounds[row["row_id"]].append(row)
    for row in sorted(samples, key=lambda row: int(row["sample"])):
        answers[row["row_id"]].append(row["response"].strip())
    return [Material(row, rounds[row["row_id"]], [row["first"], *answers[row["row_id"]]]) for row in walked]


def wanted_samples(materials: Sequence[Material], plan: Plan) -> list[dict[str, Any]]:
    """One row for each further answer to sample; `sample` numbers them from 1."""
    return [
        {**material.row, "sample": number} for material in materials for number in range(1, plan.samples(material) + 1)
    ]


def candidates(materials: Sequence[Material], plan: Plan) -> list[dict[str, Any]]:
    """The candidate pairs of every row, except those of `best-worst`, which `ranking_candidates` prepares."""
    return [
        _candidate(material.row, name, number, pair)
        for material in materials
        for name in plan.strategies(material)
        for number, pair in enumerate(STRATEGIES[name].pairs(material))
    ]


def ranking_candidates(materials: Sequence[Material], plan: Plan, settings: Filters, language: str) -> Outcome:
    """Rows for `best-worst`, each with the `answers` to be ranked: two or more, sound and different."""
    outcome = Outcome()
    for material in materials:
        if BEST_WORST not in plan.strategies(material):
            continue
        row, sound = _candidate(material.row, BEST_WORST, 0, AnswerPair("", "")), list[str]()
        for number, answer in enumerate(material.answers):
            if fault := fault_of_answer(answer, settings, language):
                # The answer gets a separate id, because the pair may still be made of the others.
                alone = {**row, "pair_id": f"{row['pair_id']}/{number}"}
                outcome.failures.append(failure(alone, "pair", fault, repr(answer)))
            elif not any(is_same(answer, other) for other in sound):
                sound.append(answer)
        if len(sound) > 1:
            outcome.rows.append({**row, "answers": sound})
        else:
            outcome.failures.append(failure(row, "pair", "one-answer", f"of {len(material.answers)}: {sound}"))
    return outcome


def _candidate(row: Row, strategy: str, number: int, pair: AnswerPair) -> dict[str, Any]:
    name = {"strategy": strategy, "pair_id": f"{row['row_id']}/{strategy}/{number}"}
    return {**row, **name, "first": pair.first, "last": pair.last, "drawn": list(pair.principle_ids)}


@strategy("revision")
def _revision(material: Material) -> Iterator[AnswerPair]:
    row = material.row
    if row["first"] != row["last"]:
        yield AnswerPair(row["first"], row["last"], row["drawn"])


@strategy("every-revision")
def _every_revision(material: Material) -> Iterator[AnswerPair]:
    for revision in material.rounds:
        if revision["changed"]:
            yield AnswerPair(
                revision["response"].strip(), revision["revision"].strip(), ids_in(revision["principle_id"])
            )


@strategy("helpful", answers=2, applies=lambda material: not any(one["flagged"] for one in material.rounds))
def _helpful(material: Material) -> Iterator[AnswerPair]:
    if len(material.answers) > 1:
        yield AnswerPair(material.answers[0], material.answers[1])


@strategy("samples", answers=None)
@strategy("on-policy", answers=None, applies=lambda material: material.on_policy)
def _two_by_two(material: Material) -> Iterator[AnswerPair]:
    for first, last in zip(material.answers[::2], material.answers[1::2], strict=False):
        yield AnswerPair(first, last)


@strategy(BEST_WORST, answers=None)
def _best_worst(material: Material) -> Iterable[AnswerPair]:
    return ()  # `charter.pipeline.rank` makes these pairs, because only the judge can choose the answers
