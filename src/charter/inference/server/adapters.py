"""LoRA adapters loaded into a running server of the model that they belong to, so that one server has them all.

A step that trained adapters keeps them beside its merged weights, in ``adapter/`` of its folder, as one adapter of the
model that all training began from. What such a model answers is kept under the base's identity and the adapter's.
"""

import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from charter.config import Serving
from charter.core.errors import ServingError
from charter.inference.endpoints import DIRECT, Served
from charter.inference.identity import model_identity
from charter.inference.server.process import serve

FOLDER, CONFIG, WEIGHTS, BASE = "adapter", "adapter_config.json", "adapter_model.safetensors", "base.json"
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM can be told to make room for."""

_LOAD_S = 300.0


class Adapter(NamedTuple):
    """The adapter that a trained model's weights were merged from."""

    folder: Path
    base: str
    """The folder or hub id of the model that it belongs to."""
    base_identity: str
    """Of that model when it was trained from: with other weights in its place the adapter would be another model."""
    rank: int


class Group(NamedTuple):
    """Models that one server can serve: those without an adapter are `base` itself."""

    base: str
    members: dict[str, Adapter | None]

    @property
    def host(self) -> str:
        """The name under which the base is served."""
        return next((name for name, adapter in self.members.items() if adapter is None), "host")

    @property
    def adapters(self) -> dict[str, Adapter]:
        """Those that are loaded into it."""
        return {name: adapter for name, adapter in self.members.items() if adapter is not None}


def find_adapter(model: str | Path) -> Adapter | None:
    """The adapter kept in a model's folder, if vLLM could serve it in its stead."""
    folder = Path(model) / FOLDER
    if not all((folder / name).is_file() for name in (CONFIG, WEIGHTS, BASE)):
        return None
    config, made_from = (json.loads((folder / name).read_text(encoding="utf-8")) for name in (CONFIG, BASE))
    base, rank = str(config["base_model_name_or_path"]), int(config["r"])
    there = Path(base).is_dir() or not Path(base).is_absolute()
    return Adapter(folder.resolve(), base, made_from["identity"], rank) if there and rank <= RANKS[-1] else None


def group(models: Mapping[str, str | Path]) -> list[Group]:
    """Models by the server that they can share; one that shares with none is served merged, which is quicker."""
    found = dict[str, dict[str, Adapter | None]]()
    for name, model in models.items():
        adapter, place = find_adapter(model), str(Path(model).resolve()) if Path(model).is_dir() else str(model)
        found.setdefault(adapter.base if adapter else place, {})[name] = adapter
    return [
        Group(base, members) if len(members) > 1 else alone(name, models[name])
        for base, members in found.items()
        for name in [*members][:1]
    ]


def alone(name: str, model: str | Path) -> Group:
    """A model with a server of its own."""
    return Group(str(model), {name: None})


def adapted_identity(base: str, adapter: Path) -> str:
    """What answers of an adapter are kept under, from the identity of its base and its own content."""
    return f"sha256:{hashlib.sha256(f'{base} {model_identity(adapter)}'.encode()).hexdigest()}"


@contextmanager
def serve_group(
    shared: Group, settings: Serving, log: Path, on_progress: Callable[[str], None] | None = None, side_by_side: int = 1
) -> Iterator[dict[str, Served]]:
    """Serve the base, and load the adapters into it while it runs.

    Raises:
        ModelError, ServingError: as `serve` does; or vLLM cannot take adapters of this model, or one of them.
    """
    own = settings.model_copy(update={"extra_args": (*_arguments(shared), *settings.extra_args)})
    with serve(shared.base, own, log, shared.host, on_progress, side_by_side) as host:
        yield {name: _load(host, name, adapter) if adapter else host for name, adapter in shared.members.items()}


def _arguments(shared: Group) -> list[str]:
    if not shared.adapters:
        return []
    rank = max(adapter.rank for adapter in shared.adapters.values())
    room = next(size for size in RANKS if size >= rank)
    return ["--enable-lora", "--max-loras", str(len(shared.adapters)), "--max-lora-rank", str(room)]


def _load(host: Served, name: str, adapter: Adapter) -> Served:
    if host.identity != adapter.base_identity:
        raise ServingError(f"adapter '{adapter.folder}': '{adapter.base}' has other weights than it was trained from.")
    body = json.dumps({"lora_name": name, "lora_path": str(adapter.folder)}).encode()
    request = urllib.request.Request(f"{host.base_url}/load_lora_adapter", body, {"Content-Type": "application/json"})
    try:
        DIRECT.open(request, timeout=_LOAD_S).close()
    except urllib.error.HTTPError as error:
        said = error.read().decode("utf-8", "replace")[:300]
        raise ServingError(f"adapter '{adapter.folder}': vLLM does not load it ({error.code}: {said}).") from error
    except OSError as error:
        raise ServingError(f"adapter '{adapter.folder}': vLLM does not load it: {error}.") from error
    identity, merged = adapted_identity(host.identity, adapter.folder), model_identity(adapter.folder.parent)
    return replace(host, model_name=name, identity=identity, merged=merged)
