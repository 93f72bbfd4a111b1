"""Several models served at once, started side by side: on two cores the starts overlap."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from charter.config import Serving
from charter.serving.endpoints import Served, connect
from charter.serving.process import serve


@contextmanager
def serve_all(
    models: Mapping[str, str | Path], settings: Serving, logs: Path, on_progress: Callable[[str], None] | None = None
) -> Iterator[dict[str, Served]]:
    """Serve each of `models` on a port of its own; all of them are gone when the block ends.

    Args:
        models: folders or hub ids by the name to serve them under.
        settings: of every server; a fixed port is for one server only, so free ones are taken here.
        logs: the folder of the servers' logs, ``vllm-NAME.log``.
        on_progress: is told what the servers are doing while they start.

    Raises:
        ModelError, ServingError: one of them did not start; those that did are ended.
    """
    free = settings.model_copy(update={"port": None})

    def start(stack: ExitStack, name: str) -> Served:
        tell = (lambda line: on_progress(f"{name}: {line}")) if on_progress else None
        return stack.enter_context(serve(models[name], free, logs / f"vllm-{name}.log", name, tell, len(models)))

    with ExitStack() as stack, ThreadPoolExecutor(len(models)) as pool:
        stacks = {name: stack.enter_context(ExitStack()) for name in models}
        starting = {name: pool.submit(start, stacks[name], name) for name in models}
        yield {name: future.result() for name, future in starting.items()}


@contextmanager
def serve_each(
    places: Mapping[str, tuple[str, Serving]], settings: Serving, logs: Path, on_progress: Callable[[str], None]
) -> Iterator[dict[str, Served]]:
    """Models, each on the running servers that its own settings name, or on vLLM started here.

    Args:
        places: by name, a model and how it is served.
        settings: of the servers that are started.
        logs: the folder of their logs, ``vllm-NAME.log``.
        on_progress: is told what they are doing while they start.

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
            found[name] = stack.enter_context(serve(model, settings, log, name, on_progress))
        yield {name: found[name] for name in places}
