"""Train on a dataset that there is already, and say whether the models are good enough.

charter train configs/demo.yaml dataset=outputs/data name=second
"""

from pathlib import Path

from prefect import flow

from charter.config import Config
from charter.evaluation.gate import Verdict
from charter.pipeline.roles import model_folder
from charter.runs.folder import locked
from charter.runs.reuse import check_training, take_dataset, with_dataset
from charter.runs.verdict import give_verdict
from flows.driving import driving
from flows.keys import api_key
from flows.lib.command import FlowCommand
from flows.progress import live
from flows.reinforcement import train_preference
from flows.review import conclude
from flows.serving import serve_base, serve_trained
from flows.tasks import answer_all, evaluate, look_at_tokens, train_step


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
    with locked(config.run_folder), live(), driving(config):
        take_dataset(config, dataset)

        with serve_base(config) as base:
            counts = await answer_all(config, {"base": base})

        sft = train_step(config, "sft", model_folder(config.model))
        last = train_preference(config, sft.model)

        with serve_trained(config, {"sft": sft.model, last.model.name: last.model}) as trained:
            counts += await answer_all(config, trained)

        counts += await evaluate(config, ["base", *trained])
        look_at_tokens(config, last.model)
        verdict = give_verdict(config)
        return await conclude(config, counts, {"base": base, **trained}, verdict, f"train dataset={dataset}")


command = FlowCommand(train, check_training)

if __name__ == "__main__":
    command.main()
