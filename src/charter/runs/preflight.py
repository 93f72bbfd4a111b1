"""A look at everything a config names, in seconds, before anything is started."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from charter.config import Config, Evaluation, Prompts, Serving, Training
from charter.config.training import Tracker
from charter.constitution import eligible, load_constitution
from charter.core.errors import ConfigError, DataError
from charter.core.hardware import gpus
from charter.core.installation import install_hint
from charter.core.messages import Messages
from charter.core.plugins import load_plugins
from charter.data.sources import SurveyedSource, check_source, open_source
from charter.evaluation.adherence.scenarios import all_requests
from charter.evaluation.benchmarks.inspection import check_suites
from charter.evaluation.records import Graded, HeldOut, exact_grader_of
from charter.inference.endpoints import connect
from charter.inference.identity import model_identity
from charter.inference.server.launch import plan_launch
from charter.inference.store import open_store
from charter.pipeline.answer_text import is_known_language
from charter.pipeline.filters import ANSWER_FILTERS, PAIR_FILTERS
from charter.pipeline.judges.calibrated import read_curve
from charter.pipeline.judges.engines import member_identities
from charter.pipeline.judges.floor import check_audit
from charter.pipeline.judges.kinds import check_judge
from charter.pipeline.roles import generation_models, grader_model, judge_model
from charter.pipeline.strategies import STRATEGIES
from charter.runs.verdict import asks_judge, overlap_of

logger = logging.getLogger(__name__)

T = TypeVar("T")


def check_config(config: Config) -> SurveyedSource:
    """Check everything that the config names, in seconds, before anything is started.

    Returns the surveyed prompts for `charter.runs.folder.start_run`, which then reads the source only once more.

    Raises:
        CharterError: a constitution, prompts, model, port, server or store that cannot be used, and what to do.
    """
    return _check_config(config, open_source)


def check_config_quickly(config: Config) -> None:
    """As `check_config`, but reads the prompts only up to the first usable one: for a command whose flow checks again.

    Raises:
        CharterError: as `check_config`.
    """
    _check_config(config, check_source)


def _check_config(config: Config, read_prompts: Callable[[Prompts, int], T]) -> T:
    check_plugins(config)
    _check_constitution(config)
    _check_rounds(config)
    check_tracker(config.training)
    check_method(config.training)
    check_distributed(config.training)
    check_runner(config)
    check_outputs(config)
    prompts = read_prompts(config.prompts, config.seed)
    if isinstance(prompts, SurveyedSource) and not config.evaluation.allow_overlap:
        check_overlap(config, (prompt.messages for prompt in prompts.prompts()))
    grader = {"grader": grader_model(config)} if asks_judge(config) else {}
    check_evaluation(config, generation_models(config) | grader)
    others = member_identities(config)
    if config.judge.audit:
        check_audit(config.judge, _judge_identity(config), others, config.generation)
    read_curve(config.judge)
    open_store(config.store_url).close()  # last, because opening creates the file
    return prompts


def check_plugins(config: Config) -> None:
    """Import the plugins, and check that every strategy and filter that the config names is registered.

    Raises:
        ConfigError: a plugin cannot be imported, or nothing of a name is registered.
    """
    load_plugins()
    for name in config.pairs.strategies.custom:
        STRATEGIES[name]
    for name in config.pairs.filters.custom:
        if name not in ANSWER_FILTERS:
            PAIR_FILTERS[name]


def check_evaluation(config: Config, models: Mapping[str, tuple[str, Serving]]) -> None:
    """Look at the held-out requests, and at models and how each is served.

    Raises:
        CharterError: one of them cannot be used, and what to do.
    """
    requests = all_requests(config)
    if config.evaluation.grader not in ("auto", "judge"):
        _check_exact_grader(config.evaluation, requests)
    check_suites(config.evaluation)
    for model, serving in models.values():
        check_served(model, serving)


def _check_exact_grader(settings: Evaluation, requests: Sequence[HeldOut]) -> None:
    """Have the grader grade an empty answer to one request of each category."""
    grade = exact_grader_of(settings)
    for request in {request.category: request for request in requests}.values():
        answer = Graded(request.request_id, request.category, request.kind, request.prompt, "", "stop")
        answer = replace(answer, variant=request.variant, pair=request.pair)
        try:
            grade(answer, request)
        except Exception as error:  # a grader of other requests may fail in any way
            raise ConfigError(
                f"evaluation.grader '{settings.grader}': cannot grade the requests of evaluation.source "
                f"'{settings.source}' ({type(error).__name__} at request '{request.request_id}'). Set "
                "evaluation.grader=judge."
            ) from error


def check_overlap(config: Config, prompts: Iterable[Messages]) -> None:
    """Look for held-out requests among the prompts of a run, before anything is spent.

    Raises:
        DataError: some are there, and the config does not allow it.
    """
    overlap = overlap_of(config, prompts)
    if overlap.found and not config.evaluation.allow_overlap:
        assert overlap.example is not None
        request, prompt = overlap.example
        raise DataError(
            f"evaluation.source '{config.evaluation.source}': {overlap.found:,} of {overlap.requests:,} held-out "
            f"requests are among the prompts of '{config.prompts.source}' ({overlap.exact:,} exactly, "
            f"{overlap.near:,} nearly), such as {request!r}, which is the prompt {prompt!r}. Remove them from one of "
            "the two, or set evaluation.allow_overlap=true, and the report will say so."
        )


def check_served(model: str, serving: Serving) -> None:
    """Look at a model's servers, or whether one can be started for it.

    Raises:
        ModelError, ServingError: no such model, port or server, and what to do.
    """
    if serving.base_urls:
        served = connect(serving.base_urls, serving, model=model)
        if served.identity.startswith("served:") and not serving.model_revision:
            logger.warning(
                "base_url '%s': its weights cannot be seen from here. If they change under the same name, old answers "
                "count as answers of the new ones: set serving.model_revision, and change it when they do.",
                served.base_url,
            )
    else:
        plan_launch(model, serving, None)


TRACKERS: dict[Tracker, tuple[str, str]] = {
    "comet_ml": ("comet_ml", "comet-ml"),
    "azure_ml": ("azureml", "azureml-core"),
    "flyte": ("flytekit", "flytekit"),
}
"""The module and the package of a tracker where they are not called as transformers calls it."""


def check_tracker(training: Training) -> None:
    """Look whether what the curves are to be shown by is installed.

    Kubeflow's trainer needs nothing installed: transformers tells it over the address that the job is given.

    Raises:
        ConfigError: it is not, and what to do.
    """
    tracker = training.tracker
    if tracker == "none":
        return
    if tracker == "kubeflow":
        if "KUBEFLOW_TRAINER_SERVER_URL" not in os.environ:
            raise ConfigError(
                "training.tracker 'kubeflow': KUBEFLOW_TRAINER_SERVER_URL is not set, as it is in a job of Kubeflow's"
                " trainer. Run it there, or leave the setting out."
            )
        return
    module, package = TRACKERS.get(tracker, (tracker, tracker))
    if find_spec(module) is None:
        raise ConfigError(
            f"training.tracker '{tracker}': not installed here. Run `pip install {package}`, or leave the setting out."
        )


def check_distributed(training: Training) -> None:
    """Look whether what splits a model among processes is installed.

    Raises:
        ConfigError: it is not, and what to do.
    """
    if training.distributed == "zero3" and find_spec("deepspeed") is None:
        raise ConfigError(
            f"training.distributed 'zero3': DeepSpeed is not installed here. Run `{install_hint('zero3')}`, or set "
            "training.distributed=fsdp2, which splits the same."
        )


def check_method(training: Training) -> None:
    """Look whether weights can be held in 4 bits here.

    Raises:
        ConfigError: they cannot, and what to do.
    """
    if training.method != "qlora":
        return
    if not gpus():
        raise ConfigError("training.method 'qlora': no GPU was found here. Set training.method=lora, or use a GPU.")
    if find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"training.method 'qlora': bitsandbytes is not installed here. Run `{install_hint('qlora')}`, or set "
            "training.method=lora."
        )


def check_outputs(config: Config) -> None:
    """Look whether outputs that are on no disk can be written.

    Raises:
        ConfigError: they cannot, and what to do.
    """
    if not config.is_remote:
        return
    if config.review.labels:
        raise ConfigError(
            f"review.labels 'true': people look at files on a disk, and outputs are at '{config.outputs}'. Leave it "
            "out, and have them look when you train on the data."
        )
    try:
        probe = config.run_folder / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except Exception as error:  # each kind of storage has its own errors
        raise ConfigError(
            f"outputs '{config.outputs}': cannot be written: {error}. Name a bucket that is there; keys and address "
            "come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL)."
        ) from error


def check_runner(config: Config) -> None:
    """Look whether shards can be worked on where the config says.

    Raises:
        ConfigError: they cannot, and what to do.
    """
    if config.runner.kind == "here":
        return
    for name, limit in config.budget:
        if limit is not None:
            raise ConfigError(
                f"budget.{name} '{limit}': kept by one process, and on Ray many of them ask. Leave it out, or leave "
                "out `runner: ray`."
            )
    for plugin in config.plugins:
        if plugin.endswith(".py") and not Path(plugin).is_absolute():
            raise ConfigError(
                f"plugins '{plugin}': Ray's processes work in other folders. Name the whole path, such as "
                f"{Path(plugin).absolute()}."
            )
    templates = config.generation.templates
    if templates and not templates.is_absolute():
        raise ConfigError(
            f"generation.templates '{templates}': Ray's processes work in other folders. Name the whole path, "
            f"such as {templates.absolute()}."
        )
    if find_spec("prefect_ray") is None:
        raise ConfigError(f"runner 'ray': not installed here. Run `{install_hint('ray')}`, or leave the setting out.")


def _judge_identity(config: Config) -> str:
    model, serving = judge_model(config)
    if serving.base_urls:
        return connect(serving.base_urls, serving, model=model).identity
    return model_identity(model, serving.model_revision or "main")


def _check_rounds(config: Config) -> None:
    share = config.pairs.strategies.on_policy
    if share and config.training.rounds == 1:
        raise ConfigError(
            f"pairs.strategies.on-policy '{share}': there is no round after the first, where alone it makes pairs. "
            "Set training.rounds to 2 or more, or leave it out."
        )


def _check_constitution(config: Config) -> None:
    constitution = load_constitution(config.constitution)
    eligible(constitution, config.generation.selection)
    check_judge(config.judge, constitution)
    if config.pairs.filters.language and not is_known_language(constitution.language):
        raise ConfigError(
            f"pairs.filters.language 'true': '{constitution.language}', the language of '{config.constitution}', "
            "cannot be distinguished from others. Leave the setting out."
        )
    if config.generation.preface and not constitution.preface:
        raise ConfigError(
            f"generation.preface 'true': '{config.constitution}' has no preface. Write one above its first '##' "
            "heading, or leave the setting out."
        )
