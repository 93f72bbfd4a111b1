"""The servers' API key out of a Secret block of Prefect's, in the environment for as long as it is needed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from charter.config import Serving
from charter.core.errors import ConfigError
from charter.inference.engine import EngineSpec
from flows.lib.temporary_server import start_server


@contextmanager
def api_key(settings: Serving | EngineSpec) -> Iterator[None]:
    """Have the key of the block that is named in the environment variable that is named; without a block do nothing.

    Raises:
        ConfigError: there is no such block, or it holds no text.
    """
    if not settings.api_key_block:
        yield
        return
    variable = settings.api_key_env
    before, os.environ[variable] = os.environ.get(variable), _read(settings.api_key_block)
    try:
        yield
    finally:
        del os.environ[variable]
        if before is not None:
            os.environ[variable] = before


def _read(block: str) -> str:
    start_server()  # the command line looks at everything before the flow would start it
    try:
        with get_client(sync_client=True) as client:
            # Not `Secret.load(block).get()`, which takes a key of digits for a number.
            key = client.read_block_document_by_name(block, "secret").data.get("value")
    except ObjectNotFound:
        raise ConfigError(
            f"serving.api_key_block '{block}': no Secret block has this name. Make it under Blocks in the UI, or with "
            f"`prefect.blocks.system.Secret(value=…).save('{block}')`, on the server that PREFECT_API_URL names."
        ) from None
    if not isinstance(key, str) or not key:
        raise ConfigError(f"serving.api_key_block '{block}': holds no text. Give it the key alone as its value.")
    return key
