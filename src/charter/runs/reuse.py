"""A run that trains on a finished dataset instead of making data."""

import shutil
from pathlib import Path

from charter.config import Config, load_config
from charter.core.errors import ConfigError
from charter.data.shards import read_rows
from charter.pipeline.roles import generation_models
from charter.runs.folder import AUDIT, STAGE_FOLDERS, reset_run_folder
from charter.runs.preflight import check_distributed, check_evaluation, check_method, check_overlap, check_tracker
from charter.runs.verdict import asks_judge

MADE_WITH = ("constitution", "prompts", "generation", "pairs", "judge")
"""Settings that made the data. The run takes them from its dataset; those of the config given here do not count."""

_COPIED = ("constitution", "constitution.json", "constitution.md", "panel", AUDIT, "review.json")
_NEEDED = ("config.yaml", "manifest.json", "sft_data", "pairs")


def with_dataset(config: Config, dataset: Path) -> Config:
    """The config of a run that trains on `dataset`, with the settings that made the data.

    Raises:
        ConfigError: the folder holds no finished dataset, or is the run's own.
    """
    if missing := [name for name in _NEEDED if not (dataset / name).exists()]:
        raise ConfigError(
            f"dataset '{dataset}': no finished run with data (it has no {missing[0]}). "
            "Name the folder of one, such as dataset=outputs/dataset."
        )
    if dataset.resolve() == config.run_folder.resolve():
        raise ConfigError(
            f"name '{config.name}': that is the dataset's own folder. Give the run another, such as "
            f"name={config.name}-1."
        )
    original = load_config(dataset / "config.yaml")
    # Which prompts are SFT's was decided when the data was made, and so was whether people review it.
    training = config.training.model_copy(update={"sft_share": original.training.sft_share})
    review = config.review.model_copy(update={"labels": original.review.labels})
    sections = {name: getattr(original, name) for name in MADE_WITH}
    return config.model_copy(update={**sections, "training": training, "review": review})


def check_training(config: Config, dataset: Path) -> None:
    """Check the dataset, the model and the held-out requests, in seconds, before anything is started.

    Raises:
        CharterError: one of them cannot be used; the message says what to do.
    """
    if config.training.rounds > 1:
        raise ConfigError(
            f"training.rounds '{config.training.rounds}': rounds after the first make data, and this flow does not. "
            "Leave the setting out, or run `charter align`."
        )
    check_tracker(config.training)
    check_method(config.training)
    check_distributed(config.training)
    config = with_dataset(config, dataset)
    if not config.evaluation.allow_overlap:
        check_overlap(config, (row["prompt"] for row in read_rows(dataset / "prompts", ("prompt",))))
    # A judge is asked for rewards by GRPO, and for grades where no oracle gives them; else the base is enough.
    models = generation_models(config)
    check_evaluation(config, models if config.training.asks_judge or asks_judge(config) else {"base": models["base"]})


def take_dataset(config: Config, dataset: Path) -> None:
    """Start the run's folder with a copy of the dataset, and its manifest as ``dataset.json``."""
    # Results of an earlier run of this name would count as those of this dataset.
    folder = reset_run_folder(config)
    for name in (*STAGE_FOLDERS, *_COPIED):
        if (dataset / name).is_dir():
            shutil.copytree(dataset / name, folder / name, dirs_exist_ok=True)
        elif (dataset / name).is_file():
            shutil.copyfile(dataset / name, folder / name)
    # Under another name: the run's own manifest is written when it ends.
    shutil.copyfile(dataset / "manifest.json", folder / "dataset.json")
