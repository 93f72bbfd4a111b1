"""Models served for the length of a block, as what a shard's task needs to ask them."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from charter.config import Config
from charter.run import model_folder
from charter.serving.endpoints import Served, connect
from charter.serving.engine import EngineSpec
from charter.serving.fleet import serve_all
from charter.serving.process import serve
from flows.progress import current


@contextmanager
def serve_base(config: Config) -> Iterator[EngineSpec]:
    """The configured model: the servers named in the config, or vLLM started here."""
    log = config.run_folder / "logs" / "vllm-base.log"
    with ExitStack() as stack:
        if config.serving.base_urls:
            served = connect(config.serving.base_urls, config.serving)
        else:
            model = model_folder(config.model)
            served = stack.enter_context(serve(model, config.serving, log, "base", current().say))
        yield _spec(config, served)


@contextmanager
def serve_trained(config: Config, models: Mapping[str, Path]) -> Iterator[dict[str, EngineSpec]]:
    """Trained models, side by side, on servers started here."""
    settings = config.serving.model_copy(update={"base_urls": [], "model_name": None})
    with serve_all(models, settings, config.run_folder / "logs", current().say) as served:
        yield {name: _spec(config, one) for name, one in served.items()}


def _spec(config: Config, served: Served) -> EngineSpec:
    return EngineSpec.of(served, config.store_url, config.generation.concurrency, config.serving.api_key_env)
