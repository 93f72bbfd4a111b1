"""Train on a finished dataset, and decide whether the models are good enough.

charter train configs/demo.yaml dataset=outputs/data name=second
"""

from pathlib import Path

from prefect import flow

from charter.config import Config
from charter.evaluation.gate import Verdict
from charter.pipeline.roles import start_model
from charter.runs.outcome import check_trainable
from charter.runs.reuse import check_training, take_dataset, with_dataset
from charter.runs.verdict import decide_and_save
from flows.lib.api_keys import api_key
from flows.lib.command import FlowCommand
from flows.lib.flow_run import open_flow_run
from flows.lib.review import conclude
from flows.lib.serving import serve_base, serve_trained
from flows.lib.tasks import ask_models, grade_and_measure
from flows.lib.training import report_tokens, train_preference, train_step


@flow(name="train", flow_run_name="train-{config.name}")
async def train(config: Config, dataset: Path) -> Verdict:
    """A finished dataset in; two trained models, their evaluation and a verdict out.

    The settings that made the data (constitution, prompts, generation, pairs, judge, review) are the dataset's, not the
    config's.

    Args:
        config: the model, training, evaluation and gate of this run, and its name, which is also its folder's.
        dataset: the folder of a finished run that made data, such as outputs/dataset.
    """
    with api_key(config.serving):
        check_training(config, dataset)
    config = with_dataset(config, dataset)
    with open_flow_run(config) as run:
        take_dataset(config, dataset)
        check_trainable(config)

        # The base model answers the held-out requests; then its server ends, and the GPU is free to train.
        async with serve_base(run) as base:
            counts = await ask_models(run, {"base": base})

        # Train on the revisions, then on the pairs.
        sft = await train_step(run, "sft", start_model(config))
        last = await train_preference(run, sft.model)  # DPO, or GRPO if training.preference asks for it

        async with serve_trained(run, {"sft": sft.model, last.model.name: last.model}) as trained:
            counts += await ask_models(run, trained)

        # Compare the models, and decide.
        counts += await grade_and_measure(run, ["base", *trained])
        await report_tokens(run, last.model)
        verdict = decide_and_save(config)
        return await conclude(run, counts, {"base": base, **trained}, verdict, f"train dataset={dataset}")


command = FlowCommand(train, check_training)

if __name__ == "__main__":
    command.main()
