"""The models that make the data, and how each is served."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from charter.config import Config, Serving
from charter.core.errors import ServingError
from charter.core.plugins import SHIPPED_MODELS
from charter.inference.engine import EngineSpec
from charter.inference.server.fleet import serve_each

_PATIENCE_S = 20.0  # somebody sits in front of it


def model_folder(model: str) -> str:
    """The folder or hub id of a configured model; a package may ship one under a name, such as `sandbox`."""
    return str(SHIPPED_MODELS[model]) if model in SHIPPED_MODELS else model


def generation_models(config: Config) -> dict[str, tuple[str, Serving]]:
    """Which models make the data, and how each is served: `base`, and `judge` where that is another one."""
    base, judge = config.serving, config.judge
    found = {"base": (model_folder(config.model), base)}
    if judge.base_urls:
        own = base.at(judge.base_urls, judge.model, judge.api_key_env)
        found["judge"] = (judge.model or "", own)
    elif judge.model and (base.base_urls or judge.model != config.model):
        own = base.model_copy(update={"base_urls": (), "model_name": None})
        found["judge"] = (model_folder(judge.model), own)
    return found


def judge_model(config: Config) -> tuple[str, Serving]:
    """The model that judges, one of the `generation_models`, and how it is served."""
    found = generation_models(config)
    return found.get("judge", found["base"])


@contextmanager
def serve_temporarily(
    config: Config, say: Callable[[str], None], names: Sequence[str] = ("base", "judge")
) -> Iterator[dict[str, EngineSpec]]:
    """For what looks at a chain and makes no dataset: the makers, or those named, ready for engines to be opened.

    The logs of servers started here are gone at the end, unless one of them failed.

    Raises:
        ModelError, ServingError: one of them cannot be used or started.
    """
    places = {name: place for name, place in generation_models(config).items() if name in names}
    logs = config.disk / f"serving-{os.getpid()}"
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, logs, ignore_errors=True)
        try:
            with serve_each(places, config.serving, logs, say) as served:
                where = config.store_url, config.generation.concurrency
                specs = {name: EngineSpec.of(one, *where) for name, one in served.items()}
                yield {name: replace(spec, patience_s=_PATIENCE_S) for name, spec in specs.items()}
        except ServingError:
            stack.pop_all()  # the logs stay: the message names one
            raise
