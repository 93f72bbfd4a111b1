"""From a run's model, or an adapter, to a folder that vLLM serves: nothing appears there before it is all checked."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from charter.config import Serving, load_config
from charter.core.errors import ConfigError, ModelError
from charter.core.files import atomic_folder
from charter.core.sampling import draw
from charter.core.text import printable
from charter.evaluation.answers import load_answers
from charter.publishing.comparison import QUESTIONS, Compared, compare
from charter.publishing.source import Source, Standing, check_name, find_source, standing
from charter.report.cards import Exported, model_card
from charter.report.collect import collect
from charter.report.data import ReportData
from charter.training.identity import model_files

CARD = "README.md"
"""The name under which hubs look for a model's card."""


class Made(NamedTuple):
    """An exported model; `compared` is None where nothing was."""

    source: Source
    standing: Standing
    compared: Compared | None
    how: str


def export_model(path: Path, out: Path, check: bool, tell: Callable[[str], None]) -> Made:
    """Write the model of `path` into the new folder `out`, with a card.

    Args:
        path: a run, one of its models, any model's folder, or a LoRA adapter, which is merged.
        out: the folder to make; an empty one may be there.
        check: serve it, and compare its greedy answers with those of its source.
        tell: is told in a line what is being done.

    Raises:
        ConfigError: `out` holds something, cannot be written, or is the name of an accepted model.
        ModelError: there is no such model, or its export says something else.
        ServingError: the export cannot be served.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ConfigError(f"out '{out}': there is something already. Name another folder, or move it away.")
    source = find_source(path)
    verdict, target = standing(source), out.resolve()
    check_name(source, verdict, out)
    try:
        with atomic_folder(target) as unfinished:
            how = _write(source, unfinished, tell)
            compared = _check(source, unfinished, target, tell) if check else None
            made = Made(source, verdict, compared, how)
            (unfinished / CARD).write_text(printable(_card(made, out.name)), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"out '{out}': cannot be written: {error}. Name another folder.") from error
    return made


def _write(source: Source, folder: Path, tell: Callable[[str], None]) -> str:
    """Write the model's files; how it was done."""
    if source.base is None:
        tell(f"copying {source.folder}")
        for path in model_files(source.folder):
            shutil.copyfile(path, folder / path.name)
        how = "the files as they were trained."
    else:
        from charter.training.models import merge_adapter  # torch

        tell(f"merging {source.folder} into {source.base}")
        merge_adapter(source.base, source.folder, folder)
        base = Path(source.base)
        how = f"the LoRA adapter {source.name} merged into {base.name if base.is_absolute() else source.base}."
    _check_files(source, folder)
    return how


def _check_files(source: Source, folder: Path) -> None:
    settings = folder / "tokenizer_config.json"
    inside = settings.is_file() and "chat_template" in settings.read_text(encoding="utf-8")
    if not any(folder.glob("tokenizer*")) or not (inside or (folder / "chat_template.jinja").is_file()):
        raise ModelError(
            f"model '{source.folder}': has no tokenizer with a chat template, without which nobody can talk to it. "
            "Copy tokenizer.json, tokenizer_config.json and chat_template.jinja there from its base model."
        )


def _check(source: Source, folder: Path, target: Path, tell: Callable[[str], None]) -> Compared:
    """Serve it before it has its name; the server's log stays where something failed, as messages name it."""
    log = target.with_name(f".{target.name}.{os.getpid()}.log")
    settings = load_config(source.run / "config.yaml").serving if source.run else Serving()
    try:
        compared = compare(source, folder, settings, _questions(source), log, tell)
    except ModelError:
        log.unlink(missing_ok=True)
        raise
    log.unlink(missing_ok=True)
    return compared


def _questions(source: Source) -> Sequence[str]:
    """Held-out requests that the model was asked in its run, drawn by lot, or ones that anybody may ask."""
    path = source.run / "answers" / f"{source.name}.parquet" if source.run else None
    if path is None or not path.is_file():
        return QUESTIONS
    prompts = {row.request_id: row.prompt for row in load_answers(path)}
    return [prompts[key] for key in draw(prompts, len(QUESTIONS), 0)] or QUESTIONS


def _card(made: Made, name: str) -> str:
    run = made.source.run
    report = run / "report.json" if run else None
    if report is not None and report.is_file():
        data = ReportData.load(report)
    else:
        data = collect(run) if run else ReportData(name)
    checked = str(made.compared) if made.compared else "nothing was compared (--no-check)."
    return model_card(data, Exported(made.source.name, made.how, checked, made.standing.warning))
