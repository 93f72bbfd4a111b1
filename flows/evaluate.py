"""Evaluate any model or endpoint: measures, verdict and report, and nothing trained.

charter evaluate configs/demo.yaml name=again model=outputs/demo/dpo base=sandbox evaluation.grader=oracle
"""

from prefect import flow

from charter.config import Config
from charter.evaluation.gate import Verdict
from charter.runs.contenders import BASE, JUDGE, MODEL, check_contenders
from charter.runs.folder import begin, locked
from charter.runs.verdict import give_verdict
from flows import tasks
from flows.driving import driving
from flows.keys import api_key
from flows.lib.command import FlowCommand
from flows.progress import live
from flows.review import conclude
from flows.serving import serve_contenders


@flow(name="evaluate", flow_run_name="evaluate-{config.name}")
async def evaluate(config: Config, base: str | None = None) -> Verdict:
    """A model or an endpoint in; its measures, a verdict and a report out. Nothing is trained.

    The model is the config's `model`, or what answers at `serving.base_urls`. Answers are graded by the sandbox's
    oracle, by the judge where the config names one, or else by `base`: sandbox, a model folder, a hub id, or the
    address of a server, such as http://127.0.0.1:8000/v1.

    Args:
        config: the model, its evaluation and gate, and the run's name: a folder of its own.
        base: the model to compare it with: a folder, a hub id or an address; nothing is compared when empty.
    """
    with api_key(config.serving):
        check_contenders(config, base)
    with locked(config.run_folder), live(), driving(config):
        begin(config)
        with serve_contenders(config, base) as served:
            models = {name: served[name] for name in (BASE, MODEL) if name in served}
            counts = await tasks.answer_all(config, models)
            counts += await tasks.evaluate(config, list(models), served.get(JUDGE, served.get(BASE)))

        verdict = give_verdict(config, MODEL)
        again = f"evaluate base={base}" if base else "evaluate"
        return await conclude(config, counts, served, verdict, again)


command = FlowCommand(evaluate, check_contenders)

if __name__ == "__main__":
    command.main()
