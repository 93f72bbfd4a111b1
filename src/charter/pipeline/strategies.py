"""How answers become pairs: each strategy is a function from what there is of a row to its candidate pairs.

DPO's prompts meet the strategies that `Pairs.strategies` draws for them. SFT's prompts meet `revision` alone, because
SFT learns a revision only when the judge prefers it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from charter.config import Filters, Pairs
from charter.constitution import ids_in
from charter.core.sampling import seed_of
from charter.pipeline.filters import fault_of_answer, is_same
from charter.pipeline.pair import in_sft_half
from charter.pipeline.rows import Outcome, Row, failure


class Material(NamedTuple):
    """What there is of a row to make pairs of.

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
        """Whether another model answered than the one that critiqued: the one that DPO goes on from."""
        return any(made["model_identity"] != self.row["model_identity"] for made in self.rounds)


class Two(NamedTuple):
    """Two answers to be compared, and the ids of the principles under which one became the other."""

    first: str
    last: str
    drawn: Sequence[str] = ()


@dataclass(frozen=True)
class Plan:
    """Which strategies each row meets, drawn from the seed and the row's id."""

    settings: Pairs
    sft_share: float
    seed: int

    def strategies(self, material: Material) -> list[str]:
        """The names of the strategies that a row meets, in the order of the configuration."""
        row = material.row
        if in_sft_half(row["prompt"], self.sft_share):
            return ["revision"]
        shares: dict[str, float] = self.settings.strategies.model_dump(by_alias=True)
        return [
            name
            for name, share in shares.items()
            if seed_of(self.seed, "pair", name, row["row_id"]) < share * 2**31 and _suits(name, material)
        ]

    def samples(self, material: Material) -> int:
        """How many answers a row's strategies need beside the first one."""
        n = self.settings.answers_per_prompt
        needs = {"samples": n, "best-worst": n, "on-policy": n, "helpful": 2}
        return max((needs.get(name, 1) for name in self.strategies(material)), default=1) - 1


def gather(walked: Sequence[Row], revisions: Sequence[Row], samples: Sequence[Row] = ()) -> list[Material]:
    """What there is of each walked row, in their order."""
    rounds, answers = defaultdict[str, list[Row]](list), defaultdict[str, list[str]](list)
    for row in sorted(revisions, key=lambda row: int(row["round"])):
        rounds[row["row_id"]].append(row)
    for row in sorted(samples, key=lambda row: int(row["sample"])):
        answers[row["row_id"]].append(row["response"].strip())
    return [Material(row, rounds[row["row_id"]], [row["first"], *answers[row["row_id"]]]) for row in walked]


def wanted_samples(materials: Sequence[Material], plan: Plan) -> list[dict[str, Any]]:
    """What is to be answered again: the row and the number of the `sample`, from 1, for each answer."""
    return [
        {**material.row, "sample": number} for material in materials for number in range(1, plan.samples(material) + 1)
    ]


def candidates(materials: Sequence[Material], plan: Plan) -> list[dict[str, Any]]:
    """The candidate pairs of every row, but for those of `best-worst`, which `contests` prepares."""
    return [
        _candidate(material.row, name, number, two)
        for material in materials
        for name in plan.strategies(material)
        if name in STRATEGIES
        for number, two in enumerate(STRATEGIES[name](material))
    ]


def contests(materials: Sequence[Material], plan: Plan, settings: Filters, language: str) -> Outcome:
    """Rows for `best-worst`, each with the `answers` to be ranked: two or more that are sound and not the same."""
    outcome = Outcome()
    for material in materials:
        if "best-worst" in plan.strategies(material):
            row = _candidate(material.row, "best-worst", 0, Two("", ""))
            _enter(row, material.answers, settings, language, outcome)
    return outcome


def _enter(row: dict[str, Any], answers: Sequence[str], settings: Filters, language: str, outcome: Outcome) -> None:
    sound = list[str]()
    for number, answer in enumerate(answers):
        if fault := fault_of_answer(answer, settings, language):
            alone = {**row, "pair_id": f"{row['pair_id']}/{number}"}  # the pair itself may still come to be
            outcome.failures.append(failure(alone, "pair", fault, repr(answer)))
        elif not any(is_same(answer, other) for other in sound):
            sound.append(answer)
    if len(sound) > 1:
        outcome.rows.append({**row, "answers": sound})
    else:
        outcome.failures.append(failure(row, "pair", "one-answer", f"of {len(answers)}: {sound}"))


def _suits(strategy: str, material: Material) -> bool:
    """Whether a strategy is for such a row at all."""
    if strategy == "helpful":
        return not any(made["flagged"] for made in material.rounds)
    return strategy != "on-policy" or material.on_policy


def _candidate(row: Row, strategy: str, number: int, two: Two) -> dict[str, Any]:
    name = {"strategy": strategy, "pair_id": f"{row['row_id']}/{strategy}/{number}"}
    return {**row, **name, "first": two.first, "last": two.last, "drawn": list(two.drawn)}


def _revision(material: Material) -> Iterator[Two]:
    row = material.row
    if row["first"] != row["last"]:
        yield Two(row["first"], row["last"], row["drawn"])


def _every_revision(material: Material) -> Iterator[Two]:
    for made in material.rounds:
        if made["changed"]:
            yield Two(made["response"].strip(), made["revision"].strip(), ids_in(made["principle_id"]))


def _two_by_two(material: Material) -> Iterator[Two]:
    for first, last in zip(material.answers[::2], material.answers[1::2], strict=False):
        yield Two(first, last)


def _helpful(material: Material) -> Iterator[Two]:
    if len(material.answers) > 1:
        yield Two(material.answers[0], material.answers[1])


STRATEGIES: Mapping[str, Callable[[Material], Iterator[Two]]] = {
    "revision": _revision,
    "every-revision": _every_revision,
    "helpful": _helpful,
    "samples": _two_by_two,
    "on-policy": _two_by_two,
}
