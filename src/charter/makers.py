"""The models that make the data, served for a moment: for what looks at a chain rather than making a dataset."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from charter.config import Config
from charter.errors import ServingError
from charter.run import makers
from charter.serving.engine import EngineSpec
from charter.serving.fleet import serve_each

_PATIENCE_S = 20.0  # somebody sits in front of it


@contextmanager
def serve_for_a_moment(
    config: Config, say: Callable[[str], None], names: Sequence[str] = ("base", "judge")
) -> Iterator[dict[str, EngineSpec]]:
    """`base`, and `judge` where that is another model, or those of them that are named, ready for engines to be opened.

    The logs of servers started here are gone at the end, unless one of them failed.

    Raises:
        ModelError, ServingError: one of them cannot be used or started.
    """
    places = {name: place for name, place in makers(config).items() if name in names}
    logs = config.outputs / f"serving-{os.getpid()}"
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, logs, ignore_errors=True)
        try:
            with serve_each(places, config.serving, logs, say) as served:
                settings = config.store_url, config.generation.concurrency, config.serving.api_key_env
                specs = {name: EngineSpec.of(one, *settings) for name, one in served.items()}
                yield {name: replace(spec, patience_s=_PATIENCE_S) for name, spec in specs.items()}
        except ServingError:
            stack.pop_all()  # the logs stay: the message names one
            raise
