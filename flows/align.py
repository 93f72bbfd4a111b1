"""Align a model with a constitution: the main path, top to bottom.

charter align configs/demo.yaml
"""

from prefect import flow

from charter.config import Config
from charter.evaluation.gate import Verdict
from charter.pipeline.roles import start_model
from charter.review.waiting import waiting
from charter.runs.folder import start_run
from charter.runs.outcome import check_trainable
from charter.runs.preflight import check_config
from charter.runs.verdict import decide_and_save
from flows.lib.api_keys import api_key
from flows.lib.command import FlowCommand
from flows.lib.flow_run import open_flow_run
from flows.lib.review import conclude, review
from flows.lib.serving import serve_generation_models, serve_trained
from flows.lib.tasks import ask_models, grade_and_measure, make_data
from flows.lib.training import align_again, report_tokens, train_preference, train_step


@flow(name="align", flow_run_name="align-{config.name}")
async def align(config: Config) -> Verdict:
    """A constitution in; a dataset, two trained models, their evaluation and a verdict out."""
    with api_key(config.serving):
        prompts = check_config(config)
    with open_flow_run(config) as run:
        if signing := waiting(config, "sign-off"):  # suspended when only the signature was missing
            return await conclude(run, *signing, decide_and_save(config))

        # Make the data: respond, critique and revise, pair, judge. The base model answers the held-out requests too.
        if reviewed := waiting(config, "review"):  # suspended when the data was made
            counts, models = reviewed
        else:
            async with serve_generation_models(run) as models:
                counts = await make_data(run, models, start_run(config, prompts))
                check_trainable(config)
                counts += await ask_models(run, {"base": models["base"]})
        counts += await review(run, counts, models)  # by people, if review.labels asks for them

        check_trainable(config)

        # Train on the revisions, then on the pairs.
        sft = await train_step(run, "sft", start_model(config))
        last = await train_preference(run, sft.model)  # DPO, or GRPO if training.preference asks for it

        async with serve_trained(run, {"sft": sft.model, last.model.name: last.model}) as trained:
            counts += await ask_models(run, trained)

        again = await align_again(run, last.model)  # later rounds, if training.rounds asks for them
        counts, trained = counts + again.counts, trained | again.models

        # Compare the models, and decide.
        counts += await grade_and_measure(run, ["base", *trained])
        verdict = decide_and_save(config)  # about the best round
        await report_tokens(run, config.run_folder / verdict.model)
        return await conclude(run, counts, {**models, **trained}, verdict)


command = FlowCommand(align)

if __name__ == "__main__":
    command.main()
