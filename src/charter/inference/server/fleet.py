"""Several models served at once; without a GPU they are started side by side, since on two cores the starts overlap."""

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from charter.config import Serving
from charter.core.errors import ModelError, ServingError
from charter.core.hardware import gpus
from charter.inference.endpoints import Served, connect
from charter.inference.server.adapters import Group, alone, group, serve_group
from charter.inference.server.process import serve

logger = logging.getLogger(__name__)


@contextmanager
def serve_all(
    models: Mapping[str, str | Path], settings: Serving, logs: Path, on_progress: Callable[[str], None] | None = None
) -> Iterator[dict[str, Served]]:
    """Serve `models`, adapters of one base on one server, the others each on a port of its own, until the block ends.

    Args:
        models: folders or hub ids by the name to serve them under.
        settings: of every server; a fixed port is for one server only, so free ones are taken here.
        logs: the folder of the servers' logs, ``vllm-NAME.log``.
        on_progress: is told what the servers are doing while they start.

    Raises:
        ModelError, ServingError: one of them did not start; those that did are ended.
    """
    free = settings.model_copy(update={"port": None})
    groups = group(models) if settings.adapters else [alone(*one) for one in models.items()]

    def start(stack: ExitStack, shared: Group) -> dict[str, Served]:
        log, tell = logs / f"vllm-{shared.host}.log", _telling(on_progress, shared.host)
        try:
            return stack.enter_context(serve_group(shared, free, log, tell, len(groups)))
        except (ModelError, ServingError) as error:
            if not shared.adapters:
                raise
            tell(f"vLLM does not serve adapters of it, so each model is served merged, by itself. {error}")
        merged = settings.model_copy(update={"adapters": False})
        members = {name: models[name] for name in shared.members}
        return stack.enter_context(serve_all(members, merged, logs, on_progress))

    # On a GPU one after the other: vLLM measures how much memory is free, and that must not change meanwhile.
    with ExitStack() as stack, ThreadPoolExecutor(1 if gpus() else len(groups)) as pool:
        stacks = [stack.enter_context(ExitStack()) for _ in groups]
        starting = [pool.submit(start, own, shared) for own, shared in zip(stacks, groups, strict=True)]
        found = {name: served for future in starting for name, served in future.result().items()}
        yield {name: found[name] for name in models}


def _telling(on_progress: Callable[[str], None] | None, name: str) -> Callable[[str], None]:
    return (lambda line: on_progress(f"{name}: {line}")) if on_progress else logger.info


@contextmanager
def serve_each(
    places: Mapping[str, tuple[str, Serving]],
    settings: Serving,
    logs: Path,
    on_progress: Callable[[str], None],
    side_by_side: int = 1,
) -> Iterator[dict[str, Served]]:
    """Models, each on the running servers that its own settings name, or on vLLM started here.

    Args:
        places: by name, a model and how it is served.
        settings: of the servers that are started.
        logs: the folder of their logs, ``vllm-NAME.log``.
        on_progress: is told what they are doing while they start.
        side_by_side: what shares the machine with a single one that is started, itself included.

    Raises:
        ModelError, ServingError: one of them cannot be used or started.
    """
    found = {name: connect(at.base_urls, at) for name, (_, at) in places.items() if at.base_urls}
    starting = {name: model for name, (model, _) in places.items() if name not in found}
    with ExitStack() as stack:
        if len(starting) > 1:
            found |= stack.enter_context(serve_all(starting, settings, logs, on_progress))
        elif starting:
            ((name, model),) = starting.items()
            log = logs / f"vllm-{name}.log"
            found[name] = stack.enter_context(serve(model, settings, log, name, on_progress, side_by_side))
        yield {name: found[name] for name in places}
