"""One probe, from a run's configuration to what it says."""

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from charter.config import Config
from charter.core.errors import ConfigError
from charter.core.formatting import utc_now
from charter.evaluation.answering import answer_requests, grade_by_judge
from charter.evaluation.measures import Measure, outcomes, usable
from charter.evaluation.records import Graded, HeldOut, ModelAnswers, exact_grader_of, save_answers
from charter.inference.engine import EngineSpec
from charter.inference.session import Session
from charter.monitor.baseline import MonitorBaseline, is_bad, read_baseline
from charter.monitor.findings import DriftFinding, find_drift
from charter.monitor.history import History, Probe, Tally, archive_history, read_history, write_history
from charter.monitor.requests import fixed_requests, fresh_requests
from charter.pipeline.counts import StageCount, with_engine_stats
from charter.pipeline.rows import OnProgress
from charter.runs.evaluation_models import check_evaluation_models

STAGE = "probe"


@dataclass(frozen=True)
class Checked:
    """What came of a probe.

    Attributes:
        history: with the probe; not written down yet.
        findings: by measure.
        answers: of the probe, graded.
        news: whether a drift was seen for the first time.
    """

    history: History
    findings: list[DriftFinding]
    answers: Sequence[Graded]
    news: bool


def check_monitor(config: Config, anew: bool = False) -> None:
    """Look at the accepted run, its requests, the model in question and the judge, before anything is started.

    Raises:
        CharterError: one of them cannot be used, and what to do.
    """
    baseline = read_baseline(config.outputs)
    if not baseline.watched(config.gate.against_accepted):
        raise ConfigError(
            "gate.against_accepted '1': every budget is 1, which leaves each measure out: there is nothing to watch. "
            "Lower one, such as gate.against_accepted.max_harmful_rise=0.02."
        )
    check_evaluation_models(baseline.asked_like(config))
    # A test that begins anew does not read the old history, which may be what is broken.
    if not anew:
        read_history(config.run_folder, baseline.run.id)


def begin_anew(config: Config) -> Path | None:
    """Forget the probes so far, which are kept under another name: after a drift has been seen to."""
    return archive_history(config.run_folder, read_baseline(config.outputs).run.id)


async def take_probe(
    config: Config, spec: EngineSpec, judge: EngineSpec | None, session: Session, on_progress: OnProgress | None = None
) -> Checked:
    """Ask, grade, count and test.

    Raises:
        CharterError: what the probe needs cannot be read, or the endpoints are gone for good.
    """
    baseline = read_baseline(config.outputs)
    history = read_history(config.run_folder, baseline.run.id)
    # Fixed requests are compared in pairs and do not add up over probes: a greedy model repeats its answers.
    pairs = fixed_requests(baseline, config.monitor, config.seed)
    fresh = fresh_requests(baseline, config.monitor, config.seed, len(history.probes) + 1)
    answers = await _ask([request for request, _ in pairs] + fresh, baseline, spec, judge, session, on_progress)
    rises = baseline.watched(config.gate.against_accepted)
    accepted = {request.request_id: answer for request, answer in pairs}
    probe = _count(answers, accepted, list(rises), len(pairs) + len(fresh), spec.identity)
    history = history.model_copy(update={"probes": (*history.probes, probe)})
    findings = find_drift(history, baseline, rises, config.monitor.alpha)
    # Only the first time: people mute an alarm that comes every hour.
    news = history.drift is None and any(finding.drifted for finding in findings)
    if news:
        history = history.model_copy(update={"drift": len(history.probes)})
    return Checked(history, findings, answers.graded, news)


def keep(config: Config, checked: Checked) -> Path:
    """Write the history down, and the answers of this probe, in place of those of the one before."""
    save_answers(config.run_folder / "answers", STAGE, checked.answers)
    return write_history(config.run_folder, checked.history)


async def _ask(
    requests: Sequence[HeldOut],
    baseline: MonitorBaseline,
    spec: EngineSpec,
    judge: EngineSpec | None,
    session: Session,
    on_progress: OnProgress | None,
) -> ModelAnswers:
    """Every request, asked now: a store would give the answers of a model that may be gone."""
    most = baseline.config.evaluation.max_tokens
    with tempfile.TemporaryDirectory(prefix="charter-probe-") as scratch:
        async with session.engine(replace(spec, store=f"{scratch}/completions.sqlite")) as engine:
            answers = await answer_requests(requests, engine.ask, most, with_engine_stats(on_progress, engine), STAGE)
    if judge is None:
        asked = {request.request_id: request for request in requests}
        grade = exact_grader_of(baseline.config.evaluation)
        return ModelAnswers([grade(a, asked[a.request_id]) for a in answers.graded], answers.failed)
    async with session.engine(judge) as engine:
        return await grade_by_judge(answers, requests, engine.ask, with_engine_stats(on_progress, engine))


def _count(
    answers: ModelAnswers, accepted: Mapping[str, Graded], measures: Sequence[Measure], asked: int, model: str
) -> Probe:
    rows = usable(answers)
    failed = Counter(lost.reason for lost in answers.failed)
    failed["ungraded"] = len(answers.graded) - len(rows)
    count = StageCount(STAGE, asked, len(rows), failed.total())  # refuses what does not add up
    fixed = [row for row in rows if row.request_id in accepted]
    tallies = {}
    for m in measures:
        now = {name: is_bad(m, yes) for name, yes in outcomes(rows, m).items()}
        then = {name: is_bad(m, yes) for name, yes in outcomes(list(accepted.values()), m).items()}
        # A fixed request that has no outcome now, or had none then, is in neither set: there is nothing to compare.
        fresh, paired = now.keys() - then.keys(), now.keys() & then.keys()
        tallies[m.name] = Tally(
            fresh_bad=sum(now[name] for name in fresh),
            fresh=len(fresh),
            worse=sum(now[name] and not then[name] for name in paired),
            better=sum(then[name] and not now[name] for name in paired),
            fixed=len(paired),
        )
    return Probe(
        at=utc_now(),
        model=model,
        asked=count.rows_in,
        answered=count.rows_out,
        # The plus leaves out reasons that did not occur.
        failed=dict(sorted((+failed).items())),
        same=sum(row.response == accepted[row.request_id].response for row in fixed),
        fixed=len(fixed),
        tallies=tallies,
    )
