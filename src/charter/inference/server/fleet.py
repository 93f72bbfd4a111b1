"""Several models served at the same time; without a GPU they start side by side, since on two cores starts overlap."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from charter.config import Serving
from charter.core.errors import ModelError, ServingError
from charter.core.hardware import gpus
from charter.inference.endpoints import Served, connect
from charter.inference.probe import probe
from charter.inference.server.adapters import AdapterGroup, group_by_base, serve_group, singleton
from charter.inference.server.process import serve

logger = logging.getLogger(__name__)


@contextmanager
def serve_all(
    models: Mapping[str, str | Path],
    settings: Serving,
    logs: Path,
    on_progress: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
) -> Iterator[dict[str, Served]]:
    """Serve `models` until the block ends: adapters of one base on one server, each other model on its own port.

    Args:
        models: folders or hub ids by the name to serve them under.
        settings: of every server; a fixed port is for one server only, so free ones are chosen here.
        logs: the folder of the servers' logs, ``vllm-NAME.log``.
        on_progress: called with a line about what the servers are doing while they start.
        stop: another thread sets it to give up all starts.

    Raises:
        ModelError, ServingError: one of them did not start; those that did are ended.
        Interrupted: `stop` was set.
    """
    free_port = settings.model_copy(update={"port": None})
    together = bool(gpus()) if settings.adapters is None else settings.adapters
    groups = group_by_base(models) if together else [singleton(*model) for model in models.items()]

    def start(stack: ExitStack, group: AdapterGroup) -> dict[str, Served]:
        def tell(line: str) -> None:
            on_progress(f"{group.base_name}: {line}") if on_progress else logger.info(line)

        log = logs / f"vllm-{group.base_name}.log"
        try:
            return stack.enter_context(serve_group(group, free_port, log, tell, len(groups), stop))
        except (ModelError, ServingError) as error:
            if not group.adapters:
                raise
            tell(f"vLLM does not serve adapters of it, so each model is served merged, by itself. {error}")
        merged = settings.model_copy(update={"adapters": False})
        members = {name: models[name] for name in group.members}
        return stack.enter_context(serve_all(members, merged, logs, on_progress, stop))

    # On a GPU one after the other: vLLM measures how much memory is free, and that must not change meanwhile.
    with ExitStack() as stack, ThreadPoolExecutor(1 if gpus() else len(groups)) as pool:
        stacks = [stack.enter_context(ExitStack()) for _ in groups]
        starts = [pool.submit(start, *pair) for pair in zip(stacks, groups, strict=True)]
        served = {name: server for future in starts for name, server in future.result().items()}
        yield {name: served[name] for name in models}


@contextmanager
def serve_each(
    models: Mapping[str, tuple[str, Serving]],
    settings: Serving,
    logs: Path,
    on_progress: Callable[[str], None],
    side_by_side: int = 1,
    stop: threading.Event | None = None,
) -> Iterator[dict[str, Served]]:
    """Models, each on the running servers that its settings name, or on vLLM started here.

    Args:
        models: by name, a model and how it is served.
        settings: of the servers that are started.
        logs: the folder of their logs, ``vllm-NAME.log``.
        on_progress: called with a line about what they are doing while they start.
        side_by_side: how many share the machine with a single one that is started, itself included.
        stop: another thread sets it to give up all starts.

    Raises:
        ModelError, ServingError: one of them cannot be used or started.
        Interrupted: `stop` was set.
    """
    judge = "judge" if "judge" in models else None  # else every model may be asked for choices
    served = {
        name: probe(connect(its.base_urls, its, model=model), on_progress, judge in (name, None), stop)
        for name, (model, its) in models.items()
        if its.base_urls
    }
    # A model that has several roles is started once.
    to_start = dict[str, str]()
    alias = dict[str, str]()
    for name, (model, its) in models.items():
        if not its.base_urls:
            alias[name] = next((other for other, started in to_start.items() if started == model), name)
            to_start.setdefault(alias[name], model)
    with ExitStack() as stack:
        if len(to_start) > 1:
            served |= stack.enter_context(serve_all(to_start, settings, logs, on_progress, stop))
        elif to_start:
            ((name, model),) = to_start.items()
            log = logs / f"vllm-{name}.log"
            served[name] = stack.enter_context(serve(model, settings, log, name, on_progress, side_by_side, stop))
        yield {name: served[alias.get(name, name)] for name in models}
