"""Models served for the length of a block, as what a shard's task needs to ask them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from charter.config import Config
from charter.run import makers
from charter.serving.endpoints import Served, connect
from charter.serving.engine import EngineSpec
from charter.serving.fleet import serve_all
from charter.serving.process import serve
from flows.progress import current


@contextmanager
def serve_base(config: Config) -> Iterator[EngineSpec]:
    """The configured model: the servers named in the config, or vLLM started here."""
    with _serve(config, ["base"]) as served:
        yield served["base"]


@contextmanager
def serve_makers(config: Config) -> Iterator[dict[str, EngineSpec]]:
    """The models that make the data: `base`, and `judge` where that is another one, side by side."""
    with _serve(config, list(makers(config))) as served:
        yield served


@contextmanager
def serve_trained(config: Config, models: Mapping[str, Path]) -> Iterator[dict[str, EngineSpec]]:
    """Trained models, side by side, on servers started here."""
    settings = config.serving.model_copy(update={"base_urls": (), "model_name": None})
    with serve_all(models, settings, config.run_folder / "logs", current().say) as served:
        yield {name: _spec(config, one) for name, one in served.items()}


@contextmanager
def _serve(config: Config, names: Sequence[str]) -> Iterator[dict[str, EngineSpec]]:
    """Some of the models that make the data, each on the servers named for it or on vLLM started here."""
    places, logs = makers(config), config.run_folder / "logs"
    found = {name: connect(places[name][1].base_urls, places[name][1]) for name in names if places[name][1].base_urls}
    starting = {name: places[name][0] for name in names if name not in found}
    with ExitStack() as stack:
        if len(starting) > 1:
            found |= stack.enter_context(serve_all(starting, config.serving, logs, current().say))
        elif starting:
            ((name, model),) = starting.items()
            log = logs / f"vllm-{name}.log"
            found[name] = stack.enter_context(serve(model, config.serving, log, name, current().say))
        yield {name: _spec(config, found[name]) for name in names}


def _spec(config: Config, served: Served) -> EngineSpec:
    return EngineSpec.of(served, config.store_url, config.generation.concurrency, config.serving.api_key_env)
