"""How far people and the judge agree."""

from collections.abc import Sequence
from typing import Any

from charter.core.statistics.association import Label, pair_kappa
from charter.core.statistics.intervals import rate_of
from charter.review.sample import Shown
from charter.runs.forms import LabelAnswers


def agreement(sample: Sequence[Shown], answers: LabelAnswers) -> dict[str, Any]:
    """Agreement and Cohen's kappa, with intervals: over the random pairs, which represent all, and the unsure ones.

    A pair that people turned around is one they judge the other way, one that they dropped is a tie to them, and any
    other one they agree with. Where a panel split there is no label to agree with.
    """
    found = {}
    for why in ("random", "uncertain"):
        people: list[Label] = [
            "worse" if shown.id in answers.flip else "tie" if shown.id in answers.drop else "better"
            for shown in sample
            if shown.why == why
        ]
        # The judge always calls the chosen answer the better one: that is what chosen means.
        judge: list[Label] = ["better"] * len(people)
        agreed = rate_of([label == "better" for label in people])
        found[why] = {"agreed": agreed.to_dict(), "kappa": pair_kappa(judge, people).to_dict()}
    return found
