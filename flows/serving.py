"""Models served for the length of a block, as what a shard's task needs to ask them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from charter.config import Config, Serving
from charter.inference.endpoints import Served
from charter.inference.engine import EngineSpec
from charter.inference.server.fleet import serve_all, serve_each
from charter.pipeline.roles import judging, makers
from charter.runs.contenders import contenders
from flows.progress import current


@contextmanager
def serve_base(config: Config) -> Iterator[EngineSpec]:
    """The configured model: the servers named in the config, or vLLM started here."""
    with _serve(config, {"base": makers(config)["base"]}) as served:
        yield served["base"]


@contextmanager
def serve_makers(config: Config, current_model: Path | None = None) -> Iterator[dict[str, EngineSpec]]:
    """The models that make the data: `base`, and `judge` where that is another one, side by side.

    In a round after the first the model of the round before as well, as `current`: it is the one that answers.
    """
    places = makers(config)
    if current_model:
        own = config.serving.model_copy(update={"base_urls": (), "model_name": None})
        places["current"] = (str(current_model), own)
    with _serve(config, places) as served:
        yield served


@contextmanager
def serve_judge(config: Config) -> Iterator[EngineSpec]:
    """The model that judges, beside a model that trains: on the same GPU it takes half of `serving.memory_share`."""
    with _serve(config, {"judge": judging(config)}, side_by_side=2) as served:
        yield served["judge"]


@contextmanager
def serve_contenders(config: Config, base: str | None) -> Iterator[dict[str, EngineSpec]]:
    """The models of an evaluation without training, side by side; see `charter.runs.contenders`."""
    with _serve(config, contenders(config, base)) as served:
        yield served


@contextmanager
def serve_trained(config: Config, models: Mapping[str, Path]) -> Iterator[dict[str, EngineSpec]]:
    """Trained models, side by side, on servers started here."""
    settings = config.serving.model_copy(update={"base_urls": (), "model_name": None})
    with serve_all(models, settings, config.work_folder / "logs", current().say) as served:
        yield {name: _spec(config, one) for name, one in served.items()}


@contextmanager
def _serve(
    config: Config, places: Mapping[str, tuple[str, Serving]], side_by_side: int = 1
) -> Iterator[dict[str, EngineSpec]]:
    """Models, each on the servers named for it or on vLLM started here."""
    logs, say = config.work_folder / "logs", current().say
    with serve_each(places, config.serving, logs, say, side_by_side) as served:
        yield {name: _spec(config, one) for name, one in served.items()}


def _spec(config: Config, served: Served) -> EngineSpec:
    return EngineSpec.of(served, config.store_url, config.generation.concurrency)
