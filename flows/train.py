"""Train on a dataset that there is already, and say whether the models are good enough.

charter train configs/demo.yaml dataset=outputs/data name=second
"""

from pathlib import Path

from prefect import flow

from charter.config import Config
from charter.evaluation.gate import Verdict
from charter.pipeline.roles import model_folder
from charter.runs.reuse import check_training, take_dataset, with_dataset
from charter.runs.verdict import decide_and_save
from flows.lib.api_keys import api_key
from flows.lib.command import FlowCommand
from flows.lib.flow_run import open_flow_run
from flows.lib.reinforcement import train_preference
from flows.lib.review import conclude
from flows.lib.serving import serve_base, serve_trained
from flows.lib.tasks import answer_all, grade_and_measure, report_tokens, train_step


@flow(name="train", flow_run_name="train-{config.name}")
async def train(config: Config, dataset: Path) -> Verdict:
    """A finished dataset in; two trained models, their evaluation and a verdict out.

    What made the data (constitution, prompts, generation, pairs, judge, its review by people) is as it was for the
    dataset, whatever the config says of it.

    Args:
        config: the model, training, evaluation and gate of this run, and its name: a folder of its own.
        dataset: the folder of a finished run that made data, such as outputs/dataset.
    """
    with api_key(config.serving):
        check_training(config, dataset)
    config = with_dataset(config, dataset)
    with open_flow_run(config) as run:
        take_dataset(config, dataset)

        async with serve_base(run) as base:
            counts = await answer_all(run, {"base": base})

        sft = await train_step(run, "sft", model_folder(config.model))
        last = await train_preference(run, sft.model)

        async with serve_trained(run, {"sft": sft.model, last.model.name: last.model}) as trained:
            counts += await answer_all(run, trained)

        counts += await grade_and_measure(run, ["base", *trained])
        await report_tokens(run, last.model)
        verdict = decide_and_save(config)
        return await conclude(run, counts, {"base": base, **trained}, verdict, f"train dataset={dataset}")


command = FlowCommand(train, check_training)

if __name__ == "__main__":
    command.main()
