"""A run that waits for people: what it has done by then, so that it goes on without doing any of it again."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Literal, NamedTuple

from charter.config import Config
from charter.constitution import load_constitution
from charter.core.files import write_json
from charter.data.sources import open_source
from charter.evaluation.adherence.scenarios import all_requests
from charter.inference.endpoints import connect
from charter.inference.engine import EngineSpec
from charter.inference.identity import model_identity
from charter.pipeline.counts import StageCount
from charter.pipeline.roles import generation_models

Step = Literal["review", "sign-off"]
FILE = "waiting.json"
_KEPT = ("model_name", "identity", "merged", "sampling", "chat_template_kwargs", "thinking_tokens")


class Waiting(NamedTuple):
    """What a run had done when it began to wait.

    Attributes:
        counts: of its stages.
        models: those that it had asked, none of which is served any more.
    """

    counts: list[StageCount]
    models: dict[str, EngineSpec]


def begin_waiting(config: Config, step: Step, counts: Sequence[StageCount], models: Mapping[str, EngineSpec]) -> None:
    """Note in the run's folder that it waits, and what it has done."""
    noted = {
        "for": step,
        "inputs": _inputs(config, step),
        "counts": [asdict(count) for count in counts],
        "models": {name: {key: getattr(spec, key) for key in _KEPT} for name, spec in models.items()},
    }
    write_json(config.run_folder / FILE, noted)


def waiting(config: Config, step: Step) -> Waiting | None:
    """What the run had done when it began to wait; None where it does not wait, or would come out otherwise now.

    Raises:
        CharterError: something named in the config cannot be used.
    """
    path = config.run_folder / FILE
    if not path.is_file():
        return None
    noted = json.loads(path.read_text(encoding="utf-8"))
    # Something was edited while the run waited: what people were asked about is no longer what the run would make.
    if noted["for"] != step or noted["inputs"] != _inputs(config, step):
        return None
    # Without addresses: none of these models is served any more, and the store has all their answers.
    models = {
        # JSON has lists where the spec has tuples.
        name: EngineSpec((), **kept | {"sampling": tuple(map(tuple, kept.get("sampling", ())))}, store=config.store_url)
        for name, kept in noted["models"].items()
    }
    return Waiting([StageCount(**count) for count in noted["counts"]], models)


def end_waiting(config: Config) -> None:
    """Forget that the run waited."""
    (config.run_folder / FILE).unlink(missing_ok=True)


def _inputs(config: Config, step: Step) -> str:
    """Hash of a run's inputs: settings, constitutions, prompts, requests, models, and at the end the labels' review."""
    constitutions = [
        config.constitution,
        *(member.constitution for member in config.judge.panel if member.constitution),
    ]
    review = config.run_folder / "review.yaml"
    models = {
        name: connect(serving.base_urls, serving, model=model).identity
        if serving.base_urls
        else model_identity(model, serving.model_revision or "main")
        for name, (model, serving) in generation_models(config).items()
    }
    inputs = [
        # All settings: it is safer to ask people again than to train on what they did not see.
        config.model_dump(mode="json"),
        [load_constitution(constitution).hash for constitution in constitutions],
        all_requests(config),
        models,
        review.read_text(encoding="utf-8") if step == "sign-off" and review.is_file() else None,
    ]
    prompts = (prompt.row() for prompt in open_source(config.prompts, config.seed).prompts())
    digest = hashlib.sha256()
    # One by one: the prompts of a run may not fit into memory together.
    for part in chain(inputs, prompts):
        digest.update(json.dumps(part, default=str).encode() + b"\n")
    return digest.hexdigest()
