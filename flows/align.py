"""Align a model with a constitution: the main path, top to bottom.

python -m flows.align configs/demo.yaml
"""

from prefect import flow

from charter.config import Config
from charter.evaluation.gate import Verdict
from charter.inspection import check
from charter.makers import model_folder
from charter.run import locked
from charter.verdict import give_verdict
from flows.artifacts import finish
from flows.command import run_from_command_line
from flows.driving import driving
from flows.progress import live
from flows.serving import serve_makers, serve_trained
from flows.tasks import answer_all, evaluate, make_dataset, train_step


@flow(name="align", flow_run_name="align-{config.name}")
async def align(config: Config) -> Verdict:
    """A constitution in; a dataset, two trained models, their evaluation and a verdict out."""
    check(config)
    with locked(config.run_folder), live(), driving(config):
        with serve_makers(config) as makers:
            counts = await make_dataset(config, makers)
            counts += await answer_all(config, {"base": makers["base"]})

        sft = train_step(config, "sft", model_folder(config.model))
        dpo = train_step(config, "dpo", str(sft.model))

        with serve_trained(config, {"sft": sft.model, "dpo": dpo.model}) as trained:
            counts += await answer_all(config, trained)

        counts += await evaluate(config, ["base", *trained])
        verdict = give_verdict(config)
        await finish(config, counts, {**makers, **trained}, verdict)
        return verdict


if __name__ == "__main__":
    run_from_command_line(align)
