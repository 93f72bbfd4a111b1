"""An evaluation without training: the models it asks, how each is served, and who grades their answers."""

from charter.config import Config, Serving
from charter.core.errors import ConfigError
from charter.pipeline.roles import generation_models, grader_model, model_folder
from charter.runs.preflight import check_evaluation
from charter.runs.verdict import asks_judge

MODEL, BASE, JUDGE = "model", "base", "judge"
"""The configured model, the one it is compared with, and the one that grades both."""


def evaluation_models(config: Config, base: str | None) -> dict[str, tuple[str, Serving]]:
    """The models of an evaluation and how each is served: `base` if named, `model`, and `judge` if it is another one.

    Args:
        config: its `model` and `serving` are those of the model in question.
        base: `sandbox`, a model folder, a hub id, or the address of a server; nothing is compared if empty.

    Raises:
        ConfigError: answers are to be graded, and only the model itself could do it.
    """
    found = {MODEL: (model_folder(config.model), config.serving)}
    if base:
        found = {BASE: _named(config, base), **found}
    if asks_judge(config) and (grader := grader_model(config)) != generation_models(config)["base"]:
        found[JUDGE] = grader
    if asks_judge(config) and len(found) == 1:
        raise ConfigError(
            f"evaluation.grader '{config.evaluation.grader}': the model would grade its own answers. Name judge.model "
            "or judge.base_urls, or base (which then grades); for the sandbox set evaluation.grader=oracle and "
            "evaluation.probes.n_win=0."
        )
    return found


def _named(config: Config, base: str) -> tuple[str, Serving]:
    if base.startswith(("http://", "https://")):
        return "", config.serving.at((base,), None, config.evaluation.base_api_key_env)
    return model_folder(base), config.serving.model_copy(update={"base_urls": (), "model_name": None})


def check_evaluation_models(config: Config, base: str | None = None) -> None:
    """Look at the models and the held-out requests, in seconds, before anything is started.

    Raises:
        CharterError: one of them cannot be used, and what to do.
    """
    if (config.run_folder / "prompts").is_dir():
        raise ConfigError(
            f"name '{config.name}': '{config.run_folder}' holds a dataset, which an evaluation would write over. "
            f"Give the evaluation another, such as name={config.name}-evaluated."
        )
    check_evaluation(config, evaluation_models(config, base))
