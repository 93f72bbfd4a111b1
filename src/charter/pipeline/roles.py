"""The models that make the data, by role, and how each is served."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from charter.config import Config, Judge, RoleModel, Serving
from charter.core.errors import ModelError, ServingError
from charter.core.packaged_models import PACKAGED_MODELS, find_packaged
from charter.core.plugins import SHIPPED_MODELS
from charter.inference.engine import EngineSpec
from charter.inference.identity import local_folder
from charter.inference.server.fleet import serve_each

INTERACTIVE_PATIENCE_S = 20.0  # a person is waiting


def model_folder(model: str) -> str:
    """The folder or hub id of a configured model, which may be the name of a shipped or downloaded one.

    Raises:
        ModelError: a model that `charter models get` knows is not on this machine yet.
    """
    if model in PACKAGED_MODELS and not Path(model).is_dir():
        return str(find_packaged(model))
    return str(SHIPPED_MODELS[model]) if model in SHIPPED_MODELS else model


def start_model(config: Config) -> str:
    """What training starts from: the folder or hub id of `model`; of a pinned hub id its snapshot on this machine.

    Raises:
        ModelError: the snapshot of `serving.model_revision` is not on this machine.
    """
    model, revision = model_folder(config.model), config.serving.model_revision
    if not revision or Path(model).expanduser().is_dir():
        return model
    if folder := local_folder(model, revision):
        return str(folder)
    if config.serving.base_urls:  # there it may be any word
        return model
    raise ModelError(
        f"serving.model_revision '{revision}': {model} has no such revision on this machine, so training cannot start "
        f"from it. Download it: hf download {model} --revision {revision}"
    )


def generation_models(config: Config) -> dict[str, tuple[str, Serving]]:
    """The models that make the data, and how each is served: `base`, and those of other roles that are other models."""
    settings = config.generation
    named: dict[str, Judge | RoleModel] = {
        "judge": config.judge,
        "responder": settings.responder,
        "critic": settings.critic,
        "reviser": settings.reviser,
    }
    models = {"base": (model_folder(config.model), config.serving)}
    return models | {role: model for role, one in named.items() if (model := _other_model(one, config))}


def judge_model(config: Config) -> tuple[str, Serving]:
    """The model that judges, one of the `generation_models`, and how it is served."""
    models = generation_models(config)
    return models.get("judge", models["base"])


def grader_model(config: Config) -> tuple[str, Serving]:
    """The model that grades the evaluation, and how it is served: the judge's, unless another one is named."""
    return _other_model(config.evaluation.grader_model, config) or judge_model(config)


def _other_model(named: Judge | RoleModel, config: Config) -> tuple[str, Serving] | None:
    """The model of a role and how it is served; None if it is the run's own."""
    base = config.serving
    if named.base_urls:
        return named.model or "", base.at(named.base_urls, named.model, named.api_key_env)
    # With `serving.base_urls`, the base is whatever answers there: the same name may be another model.
    if named.model and (base.base_urls or named.model != config.model):
        update = {"base_urls": (), "model_name": None, "model_revision": None}
        return model_folder(named.model), base.model_copy(update=update)
    return None


@contextmanager
def serve_temporarily(
    config: Config,
    say: Callable[[str], None],
    roles: Sequence[str] = ("base", "judge", "responder", "critic", "reviser"),
    stop: threading.Event | None = None,
    patience_s: float | None = INTERACTIVE_PATIENCE_S,
) -> Iterator[dict[str, EngineSpec]]:
    """The models that make data, by role, for work outside a flow.

    The logs of servers started here are deleted at the end, unless one of them failed.

    Args:
        config: names the models.
        say: called with a line about what servers are doing while they start.
        roles: the models to serve.
        stop: another thread sets it to give up a start.
        patience_s: how long to wait for servers that are down; None for the config's `serving.patience_s`.

    Raises:
        ModelError, ServingError: one of them cannot be used or started.
    """
    known = generation_models(config) | {"grader": grader_model(config)}
    models = {role: model for role, model in known.items() if role in roles}
    logs = config.disk / f"serving-{os.getpid()}"
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, logs, ignore_errors=True)
        try:
            with serve_each(models, config.serving, logs, say, stop=stop) as served:
                where = config.store_url, config.generation.concurrency, config.generation.sampling
                specs = {name: EngineSpec.of(one, *where) for name, one in served.items()}
                if patience_s is not None:
                    specs = {name: replace(spec, patience_s=patience_s) for name, spec in specs.items()}
                yield specs
        except ServingError:
            stack.pop_all()  # the logs stay: the message names one
            raise
