"""People in the loop: a run is suspended until they answer, and then continues with their answer.

Only a run of a deployment can be suspended: its process ends, and a worker starts it again from the top when the form
is filled in. Any other run ends with a message, and goes on when it is started again after a file is filled in.
"""

from collections.abc import Mapping, Sequence

from prefect.artifacts import acreate_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.flow_runs import asuspend_flow_run
from prefect.input import RunInput

from charter.config import Config
from charter.evaluation.gate import Verdict
from charter.inference.engine import EngineSpec
from charter.pipeline.counts import StageCount
from charter.review.labels import apply_answers, show_labels
from charter.review.waiting import begin_waiting, end_waiting, waiting
from charter.runs.forms import Form, Question, ask_by_file, read_form, write_form
from charter.runs.sign_off import sign_off_question
from charter.runs.verdict import decide_and_save
from flows.lib.artifacts import finish
from flows.lib.flow_run import FlowRun


async def review(run: FlowRun, counts: Sequence[StageCount], models: Mapping[str, EngineSpec]) -> list[StageCount]:
    """Have people look at labels, if the config says so, and do to the pairs what they say.

    Args:
        run: the flow run.
        counts: of what the run has done; a run that goes on finds them with `charter.review.waiting.waiting`.
        models: those that it asked.

    Raises:
        ReviewPending: the run cannot be suspended, and no one has answered yet.
        NotApproved: the run may not train on these pairs.
        DataError: the answer has a fault.
    """
    config = run.config
    if not config.review.labels:
        return []
    labels = show_labels(config)
    if not labels.sample:  # as for GRPO, which has no pairs
        run.progress.say("review: there are no pairs to look at")
        return []
    if waiting(config, "review") is None:
        begin_waiting(config, "review", counts, models)
        await run.progress.publish(
            acreate_markdown_artifact, labels.text, key="review", description=f"Labels of run {config.name}"
        )
    answers = await _ask(config, labels.question)
    done = apply_answers(config, labels, answers)
    run.progress.say(f"review: {done.rows_out:,} of {done.rows_in:,} pairs left")
    return [done]


async def conclude(
    run: FlowRun,
    counts: Sequence[StageCount],
    models: Mapping[str, EngineSpec],
    verdict: Verdict,
    again: str = "align",
) -> Verdict:
    """Finish the run with its verdict; where only a signature is missing for a go, ask people for it.

    Until someone signs, the run's folder says no-go, so that nothing needs to be done if no one ever signs.

    Args:
        run: the flow run.
        counts: of what the run has done.
        models: those that it asked.
        verdict: as `charter.runs.verdict.decide_and_save` gives it.
        again: makes the run once more, as for `charter.report.publish.report_run`.

    Raises:
        ReviewPending: the run cannot be suspended, and no one has signed yet.
        DataError: the signature has a fault.
    """
    config = run.config
    await finish(run, counts, models, verdict, again)
    if verdict.outcome != "not signed off":
        end_waiting(config)
        return verdict
    if again == "align":  # the other flows find in the store what they did
        begin_waiting(config, "sign-off", counts, models)
    await _ask(config, sign_off_question(config.run_folder))
    return await conclude(run, counts, models, decide_and_save(config, verdict.model), again)


async def _ask(config: Config, question: Question[Form]) -> Form:
    """The answer in the run's folder; otherwise the one that people give while the run is suspended."""
    if (answer := read_form(question)) is not None:
        return answer
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.deployment_id is None:
        raise ask_by_file(question)
    attempt, fault = 0, ""
    while True:
        given = await _suspend(question, f"{question.name}-{question.about}-{attempt}", fault, config)
        attempt, fault = attempt + 1, question.fault(given)
        if not fault:
            write_form(question, given)
            return given


async def _suspend(question: Question[Form], key: str, fault: str, config: Config) -> Form:
    """Suspend the run until the form is filled in; when the run continues, return the form without suspending again."""
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    run = context.flow_run
    if key not in (run.empirical_policy.pause_keys or ()):  # after Retry an older form would be in the way
        async with get_client() as client:
            for old in await client.filter_flow_run_input(run.id, f"suspended-{key}", limit=3, exclude_keys=set()):
                await client.delete_flow_run_input(run.id, old.key)
    words = f"**{question.name} of run {config.name}**: {question.words} Look at `{question.read.resolve()}` first."
    words += f"\n\nThe last answer was not taken: {fault}." if fault else ""
    form = RunInput.subclass_from_base_model_type(question.form).with_initial_data(description=words)
    timeout_s = round(3600 * config.review.timeout_hours)
    given = await asuspend_flow_run(wait_for_input=form, timeout=timeout_s, key=key)
    return question.form.model_validate(given.model_dump())
