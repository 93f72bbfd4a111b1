"""Align a model with a constitution: the main path, top to bottom.

charter align configs/demo.yaml
"""

from prefect import flow

from charter.config import Config
from charter.evaluation.gate import Verdict
from charter.pipeline.roles import model_folder
from charter.review.waiting import waiting
from charter.runs.folder import locked
from charter.runs.preflight import check
from charter.runs.verdict import give_verdict
from flows.driving import driving
from flows.keys import api_key
from flows.lib.command import FlowCommand
from flows.progress import live
from flows.reinforcement import train_preference
from flows.review import conclude, review
from flows.rounds import align_again
from flows.serving import serve_makers, serve_trained
from flows.tasks import answer_all, evaluate, look_at_tokens, make_dataset, train_step


@flow(name="align", flow_run_name="align-{config.name}")
async def align(config: Config) -> Verdict:
    """A constitution in; a dataset, two trained models, their evaluation and a verdict out."""
    with api_key(config.serving):
        check(config)
    with locked(config.run_folder), live(), driving(config):
        if signing := waiting(config, "sign-off"):  # suspended when all was done but the signature
            return await conclude(config, *signing, give_verdict(config))

        if reviewed := waiting(config, "review"):  # suspended when the data was made
            counts, makers = reviewed
        else:
            with serve_makers(config) as makers:
                counts = await make_dataset(config, makers)
                counts += await answer_all(config, {"base": makers["base"]})
        counts += await review(config, counts, makers)  # by people, if review.labels asks for them

        sft = train_step(config, "sft", model_folder(config.model))
        last = train_preference(config, sft.model)  # DPO, or GRPO if training.preference asks for it

        with serve_trained(config, {"sft": sft.model, last.model.name: last.model}) as trained:
            counts += await answer_all(config, trained)

        again = await align_again(config, last.model)  # rounds after the first, if training.rounds asks for them
        counts, trained = counts + again.counts, trained | again.models

        counts += await evaluate(config, ["base", *trained])
        verdict = give_verdict(config)  # on the best round
        look_at_tokens(config, config.run_folder / verdict.model)
        return await conclude(config, counts, {**makers, **trained}, verdict)


command = FlowCommand(align)

if __name__ == "__main__":
    command.main()
