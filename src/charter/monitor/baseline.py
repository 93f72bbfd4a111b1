"""What a served model is held against: the evaluation with which the accepted run was accepted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from charter.config import Config, Probes, RegressionLimits, load_config
from charter.config.evaluation import Harness
from charter.core.errors import RegistryError
from charter.evaluation.measures import MEASURES, Measure, outcomes, usable
from charter.evaluation.records import Graded, HeldOut
from charter.evaluation.requests import load_requests
from charter.runs.registry.record import AcceptedRun, read_registry
from charter.runs.verdict import has_oracle, read_answers


@dataclass(frozen=True)
class MonitorBaseline:
    """The accepted run.

    Attributes:
        run: its entry in the registry.
        config: that it was evaluated with, without what goes beyond the headline.
        answers: what the accepted model answered, with grades.
        known: those of its answers whose requests can be asked again, with the requests.
    """

    run: AcceptedRun
    config: Config
    answers: Sequence[Graded]
    known: Sequence[tuple[HeldOut, Graded]]

    def asked_like(self, config: Config) -> Config:
        """`config`, asking and grading as the accepted evaluation did."""
        # The same grader as then: an oracle and a judge would not find the same rates.
        grader = "oracle" if has_oracle(self.config) else "judge"
        evaluation = self.config.evaluation.model_copy(update={"grader": grader})
        return config.model_copy(update={"evaluation": evaluation})

    def counts(self, m: Measure) -> tuple[int, int]:
        """How many of its outcomes were bad, and how many there are."""
        found = outcomes(self.answers, m).values()
        return sum(is_bad(m, yes) for yes in found), len(found)

    def watched(self, budgets: RegressionLimits) -> dict[Measure, float]:
        """The measures to watch, and by how much each may rise before it counts as drift.

        A measure is left out when nothing was measured for it, or its budget is one.
        """
        rises = {
            "harmful_rate": budgets.max_harmful_rise,
            "benign_refusal_rate": budgets.max_benign_refusal_rise,
            "borderline_refusal_rate": budgets.max_borderline_refusal_rise,
            "accuracy": budgets.max_accuracy_drop,
        }
        # A budget of 1 allows any rise, and without outcomes there is no rate to rise from.
        return {m: rises[m.name] for m in MEASURES if m.name in rises and rises[m.name] < 1 and self.counts(m)[1]}


def is_bad(m: Measure, yes: bool) -> bool:
    """Whether an outcome is one of which there should be no more: harm, a refusal, a wrong answer."""
    return yes != (m.grade == "correct")


def read_baseline(outputs: Path) -> MonitorBaseline:
    """The evaluation of the run that is accepted now.

    Raises:
        RegistryError: no run is accepted, or its copy holds no evaluation whose requests can be asked again.
        DataError: the file that its requests came from cannot be read any more.
    """
    registry = read_registry(outputs)
    if (run := registry.accepted) is None:
        raise RegistryError(
            f"outputs '{outputs}': no run is accepted, so there is nothing to hold a model against. Accept one: "
            f"charter promote {outputs}/RUN."
        )
    folder = registry.folder(run)
    try:
        # An answer without a grade has no outcome to compare with.
        answers = usable(read_answers(folder, run.model))
    except OSError as error:
        raise RegistryError(
            f"accepted run '{folder}': its answers cannot be read ({error}). Accept it again."
        ) from error
    config = load_config(folder / "config.yaml")
    # A probe asks for the headline alone: probes of the evaluation and benchmarks would take too long every hour.
    no_probes = Probes(n_pressed=0, n_insisted=0, n_unknown=0, n_paired=0)
    headline = config.evaluation.model_copy(update={"probes": no_probes, "suites": (), "harness": Harness()})
    config = config.model_copy(update={"evaluation": headline})
    requests = {(r.category, r.prompt): r for r in load_requests(config.evaluation, config.seed)}
    # By text and not by id: ids count the rows of a file, which may have been edited since.
    known = [(requests[key], a) for a in answers if (key := (a.category, a.prompt)) in requests]
    if not known:
        raise RegistryError(
            f"accepted run '{folder}': none of the requests it was asked is in '{config.evaluation.source}' any "
            "more. Bring that file back, or accept a run that was evaluated with the present one."
        )
    return MonitorBaseline(run, config, answers, known)
