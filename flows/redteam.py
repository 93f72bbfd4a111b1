"""Look for requests on which a model fails, and add them to a set of prompts for the next run.

charter redteam configs/demo.yaml name=redteam model=outputs/demo/dpo base=sandbox evaluation.grader=oracle
"""

import sys
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import acreate_markdown_artifact
from prefect.cache_policies import NO_CACHE

from charter.config import Config
from charter.inference.engine import EngineSpec
from charter.pipeline.counts import StageCount
from charter.redteam import session
from charter.redteam.report import report_markdown, summarize_report
from charter.redteam.session import check_redteam, read_report
from charter.redteam.versions import PROMPTS, begin_version
from charter.runs.evaluation_models import BASE, JUDGE, MODEL
from charter.runs.verdict import has_oracle
from flows.lib.api_keys import api_key
from flows.lib.command import FlowCommand
from flows.lib.flow_run import FlowRun, open_flow_run
from flows.lib.serving import serve_evaluated


@flow(name="redteam", flow_run_name="redteam-{config.name}")
async def redteam(config: Config, base: str | None = None, run: Path | None = None) -> Path:
    """Topics, principles and failures in; new requests on which the model fails, as a version of a prompt set, out.

    A version holds all that was found under the same name, and can be `prompts.source` of a run. The section `redteam`
    says what is invented, and in which styles it is sent to the model. `base` is sandbox, a model folder, a hub id, or
    the address of a server; an aligned model may decline to invent harmful requests.

    Args:
        config: the model in question, as for `evaluate`, and the set's name, which is also its folder's.
        base: who invents, and grades where neither the oracle nor a judge does; the model itself when empty.
        run: an evaluated run, such as outputs/demo, whose failures are shown as examples.
    """
    with api_key(config.serving):
        check_redteam(config, base, run)
    with open_flow_run(config) as flow_run:
        begin_version(config.run_folder)
        async with serve_evaluated(flow_run, base) as served:
            model, inventor = served[MODEL], served.get(BASE, served[MODEL])
            judge = None if has_oracle(config) else served.get(JUDGE, served.get(BASE))
            counts = await invent_task(flow_run, run, inventor)
            counts += await attack_task(flow_run, model, judge)
        models = {
            "model": model.identity,
            "inventor": inventor.identity,
            "judge": judge.identity if judge else "oracle",
        }
        version = session.publish_version(config, counts, run, models)
        await publish_report(flow_run, version)
        return version


@task(task_run_name="invent", cache_policy=NO_CACHE, persist_result=False)
async def invent_task(flow_run: FlowRun, run: Path | None, inventor: EngineSpec) -> list[StageCount]:
    """Requests that were not there before."""
    return await session.invent_requests(flow_run.config, run, inventor, flow_run.session, flow_run.progress.report)


@task(task_run_name="attack", cache_policy=NO_CACHE, persist_result=False)
async def attack_task(run: FlowRun, model: EngineSpec, judge: EngineSpec | None) -> list[StageCount]:
    """Every request in every style, answered and graded."""
    return await session.attack_model(run.config, model, judge, run.session, run.progress.report)


@task(task_run_name="publish", cache_policy=NO_CACHE, persist_result=False)
async def publish_report(run: FlowRun, version: Path) -> None:
    """Publish what was found."""
    report = read_report(version)
    text = f"{report_markdown(report)}\nThe set: `{(version / PROMPTS).resolve()}`\n"
    await run.progress.publish(acreate_markdown_artifact, text, key="redteam", description=summarize_report(report))
    run.progress.say(summarize_report(report))


def end_of_redteam(config: Config, version: Path) -> bool:
    """Print what was found, and where the set is."""
    sys.stdout.write(f"\n{report_markdown(read_report(version))}\nThe set: prompts.source={version / PROMPTS}\n")
    return True


command = FlowCommand(redteam, check_redteam, end_of_redteam)

if __name__ == "__main__":
    command.main()
