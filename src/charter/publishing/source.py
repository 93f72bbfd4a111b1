"""What is exported: a run's model, a model's folder or a LoRA adapter, and the verdict on it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from charter.constitution import kept_constitution_path
from charter.core.errors import ConfigError, ModelError
from charter.inference.identity import model_identity
from charter.inference.server.launch import check_model
from charter.runs.registry.promotion import folder_of_runs
from charter.runs.registry.record import ACCEPTED, FILE, FORCED, read_registry
from charter.runs.registry.seal import hash_files

VERDICT = ("gate.json", "evaluation.json", "config.yaml")
"""Files of a run that its verdict depends on."""

OUTPUTS = Path("outputs")
"""The default folder of runs."""

CONFIG, ADAPTER, WEIGHTS = "config.json", "adapter_config.json", "*.safetensors"


@dataclass(frozen=True)
class ExportSource:
    """A model to export.

    Attributes:
        folder: of the model, or of the adapter.
        base: the folder or hub id of the model that an adapter belongs to; None for a whole model.
        run: the folder of the run that made it, if one did.
    """

    folder: Path
    base: str | None = None
    run: Path | None = None

    @property
    def name(self) -> str:
        """Its name in its run."""
        return self.folder.name


class VerdictStatus(NamedTuple):
    """The verdict on a model; `none` if it has no verdict, or one that was formed on other files."""

    verdict: Literal["go", "no-go", "none"]
    reason: str

    @property
    def warning(self) -> str:
        """The first sentence of its card; empty if the verdict is go."""
        if self.verdict == "go":
            return ""
        failed = "This model did not pass its gate: it is no-go. " if self.verdict == "no-go" else ""
        return f"{failed}Do not use it as an aligned model. {self.reason}"


def find_source(path: Path) -> ExportSource:
    """The model in a run's folder that the verdict is on, or the model or adapter in the folder itself.

    Raises:
        ModelError: it contains none that can be exported.
    """
    if not path.is_dir():
        raise ModelError(f"model '{path}': no such folder. Name a run, one of its models, or an adapter's folder.")
    if _is_run(path):
        # The model that the run's verdict is on.
        run, name = path, str(_read(path / "gate.json").get("model") or "dpo")
        path = run / name
        if not (path / CONFIG).is_file():
            others = sorted(str(config.parent) for config in run.glob(f"*/{CONFIG}"))
            hint = f"Name one of its models: {', '.join(others)}." if others else "Name a run that trained one."
            raise ModelError(f"run '{run}': has no model '{name}' in its folder. {hint}")
    run_of_model = path.parent if _is_run(path.parent) else None
    if (path / ADAPTER).is_file():
        settings = _read(path / ADAPTER)
        # Other adapters change the model's structure, so that they cannot be added to its weights.
        if (kind := settings.get("peft_type")) != "LORA":
            raise ModelError(f"adapter '{path}': of type {kind}, which cannot be merged. Name a LoRA adapter.")
        if not any(path.glob("adapter_model.safetensors")):
            raise ModelError(f"adapter '{path}': has no adapter_model.safetensors. Name the folder that holds it.")
        base = settings.get("base_model_name_or_path")
        if not base:
            raise ModelError(f"adapter '{path}': {ADAPTER} names no base model. Set base_model_name_or_path there.")
        return ExportSource(path, str(check_model(base) or base), run_of_model)
    settings = _read(path / CONFIG)
    if not settings:
        raise ModelError(
            f"model '{path}': contains neither a model ({CONFIG}) nor a LoRA adapter ({ADAPTER}). Name a run, such as "
            "outputs/demo, or one of its models, such as outputs/demo/dpo."
        )
    if any("ForSequenceClassification" in name for name in settings.get("architectures") or ()):
        raise ModelError(f"model '{path}': a reward model, which cannot answer. Name a model that answers.")
    if not any(path.glob(WEIGHTS)):
        raise ModelError(
            f"model '{path}': has no weights as safetensors. Load it with transformers and save it with "
            "`save_pretrained`, then export that folder."
        )
    return ExportSource(path, None, run_of_model)


def verdict_status(source: ExportSource) -> VerdictStatus:
    """The verdict on the very weights that are exported."""
    run = source.run
    if run is None:
        return VerdictStatus("none", "There is no verdict on it: it is not in the folder of a run.")
    gate, manifest = _read(run / "gate.json"), _read(run / "manifest.json")
    # From here on, what makes a verdict void: an unfinished run, changed files, another model, other weights.
    if not gate or not manifest:
        return VerdictStatus("none", "Its run has not finished, so there is no verdict.")
    # A verdict is only as good as the files that it was formed on: an edited gate.json must not bless a model.
    recorded, current = manifest.get("files", {}), hash_files(run)
    if changed := [name for name in VERDICT if recorded.get(name) != current.get(name)]:
        return VerdictStatus("none", f"Changed since its run ended: {', '.join(changed)}.")
    if gate.get("model") != source.name:
        return VerdictStatus("none", f"The verdict of its run is on {gate.get('model')}, and this is {source.name}.")
    if manifest["models"].get(source.name) != model_identity(source.folder):
        return VerdictStatus("none", "Its files have changed since the verdict of its run.")
    if gate["verdict"] == "go" and _is_within(run, FORCED):
        return VerdictStatus("no-go", "It was accepted against its verdict.")
    reason = f"{gate.get('reason', '')} {gate.get('sign_off', '')}".strip()
    return VerdictStatus("go" if gate["verdict"] == "go" else "no-go", reason)


def check_name(source: ExportSource, status: VerdictStatus, out: Path) -> None:
    """Refuse the name of an accepted model, and the folder of accepted models, for a model that is not go.

    Raises:
        ConfigError: `out` is such a name.
    """
    if status.verdict == "go":
        return
    # Weights that were copied out of their run have no registry, so those around `out` are read as well.
    places = [OUTPUTS, *out.resolve().parents, *([folder_of_runs(source.run)] if source.run else [])]
    names = {event.run.id for place in places for event in read_registry(place).history}
    if out.name in names or _is_within(out, ACCEPTED):
        raise ConfigError(
            f"out '{out}': the name of an accepted model, and this one is not go. {status.reason} Name another folder."
        )


def _is_run(path: Path) -> bool:
    return (path / "config.yaml").is_file() and kept_constitution_path(path).is_file()


def _is_within(path: Path, kind: str) -> bool:
    """Whether `path` is in the folder of accepted models, or of forced ones, of some registry."""
    # By the registry's file beside it: a folder may be called accepted for other reasons.
    return any(parent.name == kind and (parent.parent / FILE).is_file() for parent in path.resolve().parents)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"file '{path}': cannot be read: {error}. Restore it, or name another folder.") from error
