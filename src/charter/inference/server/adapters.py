"""LoRA adapters loaded into a running server of their base model, so that one server has them all.

A training step with adapters keeps them beside its merged weights, in ``adapter/`` of its folder, as one adapter of
the model that all training started from. Completions of such a model are stored under the identities of both.
"""

import hashlib
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from charter.config import Serving
from charter.core.errors import ServingError
from charter.inference.endpoints import Served
from charter.inference.identity import model_identity
from charter.inference.network import DIRECT
from charter.inference.server.process import serve

FOLDER, CONFIG, WEIGHTS, BASE = "adapter", "adapter_config.json", "adapter_model.safetensors", "base.json"
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM accepts for --max-lora-rank."""

_LOAD_S = 300.0


class Adapter(NamedTuple):
    """The adapter that a trained model's weights were merged from."""

    folder: Path
    base: str
    """The folder or hub id of the model that it belongs to."""
    base_identity: str
    """The base's identity at training time: on other weights the adapter would give another model."""
    rank: int


class AdapterGroup(NamedTuple):
    """Models that one server can serve: those without an adapter are `base` itself."""

    base: str
    members: dict[str, Adapter | None]

    @property
    def base_name(self) -> str:
        """The name under which the base is served."""
        return next((name for name, adapter in self.members.items() if adapter is None), "host")

    @property
    def adapters(self) -> dict[str, Adapter]:
        """The members to load into the server."""
        return {name: adapter for name, adapter in self.members.items() if adapter is not None}


def find_adapter(model: str | Path) -> Adapter | None:
    """The adapter kept in a model's folder, if vLLM could serve it instead of the merged weights."""
    folder = Path(model) / FOLDER
    if not all((folder / name).is_file() for name in (CONFIG, WEIGHTS, BASE)):
        return None
    config, trained_on = (json.loads((folder / name).read_text(encoding="utf-8")) for name in (CONFIG, BASE))
    base, rank = str(config["base_model_name_or_path"]), int(config["r"])
    base_exists = Path(base).is_dir() or not Path(base).is_absolute()  # a hub id is taken on trust
    return Adapter(folder.resolve(), base, trained_on["identity"], rank) if base_exists and rank <= RANKS[-1] else None


def group_by_base(models: Mapping[str, str | Path]) -> list[AdapterGroup]:
    """Models by the server that they can share; one that shares with no other is served merged, which is faster."""
    by_base = dict[str, dict[str, Adapter | None]]()
    for name, model in models.items():
        adapter, place = find_adapter(model), str(Path(model).resolve()) if Path(model).is_dir() else str(model)
        by_base.setdefault(adapter.base if adapter else place, {})[name] = adapter
    return [
        AdapterGroup(base, members) if len(members) > 1 else singleton(name, models[name])
        for base, members in by_base.items()
        for name in [*members][:1]
    ]


def singleton(name: str, model: str | Path) -> AdapterGroup:
    """A model that has a server for itself."""
    return AdapterGroup(str(model), {name: None})


def adapted_identity(base: str, adapter: Path) -> str:
    """The identity of a base with an adapter, from the base's identity and the adapter's content; a store key."""
    return f"sha256:{hashlib.sha256(f'{base} {model_identity(adapter)}'.encode()).hexdigest()}"


@contextmanager
def serve_group(
    group: AdapterGroup,
    settings: Serving,
    log: Path,
    on_progress: Callable[[str], None] | None = None,
    side_by_side: int = 1,
    stop: threading.Event | None = None,
) -> Iterator[dict[str, Served]]:
    """Serve the base, and load the adapters into it while it runs; arguments as for `serve`.

    Raises:
        ModelError, ServingError, Interrupted: as `serve` does; or vLLM cannot use adapters of this model, or one of
            them.
    """
    arguments: list[str] = []
    if group.adapters:
        widest = max(adapter.rank for adapter in group.adapters.values())
        max_rank = next(rank for rank in RANKS if rank >= widest)
        arguments = ["--enable-lora", "--max-loras", str(len(group.adapters)), "--max-lora-rank", str(max_rank)]
    settings = settings.model_copy(update={"extra_args": (*arguments, *settings.extra_args)})
    with serve(group.base, settings, log, group.base_name, on_progress, side_by_side, stop) as server:
        yield {name: _load(server, name, adapter) if adapter else server for name, adapter in group.members.items()}


def _load(server: Served, name: str, adapter: Adapter) -> Served:
    if server.identity != adapter.base_identity:
        raise ServingError(f"adapter '{adapter.folder}': '{adapter.base}' has other weights than it was trained from.")
    body = json.dumps({"lora_name": name, "lora_path": str(adapter.folder)}).encode()
    url = f"{server.base_url}/load_lora_adapter"
    try:
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        DIRECT.open(request, timeout=_LOAD_S).close()
    except urllib.error.HTTPError as error:
        answer = error.read().decode("utf-8", "replace")[:300]
        raise ServingError(f"adapter '{adapter.folder}': vLLM does not load it ({error.code}: {answer}).") from error
    except OSError as error:
        raise ServingError(f"adapter '{adapter.folder}': vLLM does not load it: {error}.") from error
    identity, merged = adapted_identity(server.identity, adapter.folder), model_identity(adapter.folder.parent)
    return replace(server, model_name=name, identity=identity, merged=merged)
