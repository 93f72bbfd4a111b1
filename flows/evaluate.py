"""Evaluate any model or endpoint: measures, verdict and report, and nothing trained.

charter evaluate configs/demo.yaml name=again model=outputs/demo/dpo base=sandbox evaluation.grader=oracle
"""

from prefect import flow

from charter.config import Config
from charter.evaluation.gate import Verdict
from charter.runs.evaluation_models import BASE, JUDGE, MODEL, check_evaluation_models
from charter.runs.folder import reset_run_folder
from charter.runs.verdict import decide_and_save
from flows.lib.api_keys import api_key
from flows.lib.command import FlowCommand
from flows.lib.flow_run import open_flow_run
from flows.lib.review import conclude
from flows.lib.serving import serve_evaluated
from flows.lib.tasks import ask_models, grade_and_measure


@flow(name="evaluate", flow_run_name="evaluate-{config.name}")
async def evaluate(config: Config, base: str | None = None) -> Verdict:
    """A model or an endpoint in; its measures, a verdict and a report out. Nothing is trained.

    The model is the config's `model`, or what answers at `serving.base_urls`. Answers are graded by the sandbox's
    oracle, by the judge where the config names one, or else by `base`: sandbox, a model folder, a hub id, or the
    address of a server, such as http://127.0.0.1:8000/v1.

    Args:
        config: the model, its evaluation and gate, and the run's name, which is also its folder's.
        base: the model to compare it with: a folder, a hub id or an address; nothing is compared when empty.
    """
    with api_key(config.serving):
        check_evaluation_models(config, base)
    with open_flow_run(config) as run:
        reset_run_folder(config)
        async with serve_evaluated(run, base) as served:
            models = {name: served[name] for name in (BASE, MODEL) if name in served}
            counts = await ask_models(run, models)
            counts += await grade_and_measure(run, list(models), served.get(JUDGE, served.get(BASE)))

        verdict = decide_and_save(config, MODEL)
        again = f"evaluate base={base}" if base else "evaluate"
        return await conclude(run, counts, served, verdict, again)


command = FlowCommand(evaluate, check_evaluation_models)

if __name__ == "__main__":
    command.main()
