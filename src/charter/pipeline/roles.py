"""The models that make the data, by role, and how each is served."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from charter.config import Config, Serving
from charter.core.errors import ServingError
from charter.core.packaged_models import PACKAGED_MODELS, find_packaged
from charter.core.plugins import SHIPPED_MODELS
from charter.inference.engine import EngineSpec
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


def generation_models(config: Config) -> dict[str, tuple[str, Serving]]:
    """The models that make the data, and how each is served: `base`, and `judge` if that is another model."""
    base, judge = config.serving, config.judge
    models = {"base": (model_folder(config.model), base)}
    if judge.base_urls:
        models["judge"] = (judge.model or "", base.at(judge.base_urls, judge.model, judge.api_key_env))
    # With `serving.base_urls`, the base is whatever answers there: the same name may be another model.
    elif judge.model and (base.base_urls or judge.model != config.model):
        models["judge"] = (model_folder(judge.model), base.model_copy(update={"base_urls": (), "model_name": None}))
    return models


def judge_model(config: Config) -> tuple[str, Serving]:
    """The model that judges, one of the `generation_models`, and how it is served."""
    models = generation_models(config)
    return models.get("judge", models["base"])


@contextmanager
def serve_temporarily(
    config: Config,
    say: Callable[[str], None],
    roles: Sequence[str] = ("base", "judge"),
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
    models = {role: model for role, model in generation_models(config).items() if role in roles}
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
