"""Export a run's model, or an adapter, to a folder that vLLM serves; it appears only once everything is checked."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from charter.config import Serving, load_config
from charter.core.errors import ConfigError, ModelError
from charter.core.files import atomic_folder
from charter.core.sampling import draw
from charter.core.text import printable
from charter.evaluation.records import load_answers
from charter.publishing.comparison import QUESTIONS, ExportComparison, compare_export
from charter.publishing.source import ExportSource, VerdictStatus, check_name, find_source, verdict_status
from charter.report.cards import Exported, model_card
from charter.report.collect import collect
from charter.report.data import ReportData
from charter.training.identity import model_files

CARD = "README.md"
"""The name under which hubs look for a model's card."""


class ExportedModel(NamedTuple):
    """An exported model.

    Attributes:
        comparison: with its source; None if it was not checked.
        how: how the weights were made, for its card.
    """

    source: ExportSource
    status: VerdictStatus
    comparison: ExportComparison | None
    how: str


def export_model(path: Path, out: Path, check: bool, say: Callable[[str], None]) -> ExportedModel:
    """Write the model of `path` into the new folder `out`, with a card.

    Args:
        path: a run, one of its models, any model's folder, or a LoRA adapter, which is merged.
        out: the folder to write; it may exist if it is empty.
        check: serve it, and compare its greedy answers with those of its source.
        say: called with a line about each step.

    Raises:
        ConfigError: `out` is not empty, cannot be written, or is the name of an accepted model.
        ModelError: the model does not exist, or its export answers differently.
        ServingError: the export cannot be served.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ConfigError(f"out '{out}': already exists and is not empty. Choose another folder or remove it.")
    source = find_source(path)
    status, target = verdict_status(source), out.resolve()
    check_name(source, status, out)
    try:
        # Checked under a temporary name, so that an export which fails its check never has its final one.
        with atomic_folder(target) as unfinished:
            how = _write(source, unfinished, say)
            comparison = _check(source, unfinished, target, say) if check else None
            report = source.run / "report.json" if source.run else None
            if report is not None and report.is_file():
                data = ReportData.load(report)
            else:
                data = collect(source.run) if source.run else ReportData(out.name)
            checked = str(comparison) if comparison else "nothing was compared (--no-check)."
            card = model_card(data, Exported(source.name, how, checked, status.warning))
            (unfinished / CARD).write_text(printable(card), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"out '{out}': cannot be written: {error}. Name another folder.") from error
    return ExportedModel(source, status, comparison, how)


def _write(source: ExportSource, folder: Path, say: Callable[[str], None]) -> str:
    """Write the model's files; returns how they were made, for the card."""
    if source.base is None:
        say(f"copying {source.folder}")
        # Only the model's files: a trainer's folder also holds checkpoints and logs.
        for path in model_files(source.folder):
            shutil.copyfile(path, folder / path.name)
        how = "the files as they were trained."
    else:
        from charter.training.models import merge_adapter  # torch

        say(f"merging {source.folder} into {source.base}")
        merge_adapter(source.base, source.folder, folder)
        base = Path(source.base)
        how = f"the LoRA adapter {source.name} merged into {base.name if base.is_absolute() else source.base}."
    # The template may be in either file: transformers moved it.
    config = folder / "tokenizer_config.json"
    has_template = (folder / "chat_template.jinja").is_file() or (
        config.is_file() and "chat_template" in config.read_text(encoding="utf-8")
    )
    if not any(folder.glob("tokenizer*")) or not has_template:
        raise ModelError(
            f"model '{source.folder}': has no tokenizer with a chat template, which chat requests require. "
            "Copy tokenizer.json, tokenizer_config.json and chat_template.jinja there from its base model."
        )
    return how


def _check(source: ExportSource, folder: Path, target: Path, say: Callable[[str], None]) -> ExportComparison:
    """Compare the export with its source before it gets its name."""
    log = target.with_name(f".{target.name}.{os.getpid()}.log")
    settings = Serving()
    questions: tuple[str, ...] = QUESTIONS
    if source.run:
        settings = load_config(source.run / "config.yaml").serving
        answers = source.run / "answers" / f"{source.name}.parquet"
        # Random held-out requests that the model was asked in its run.
        prompts = {row.request_id: row.prompt for row in load_answers(answers)} if answers.is_file() else {}
        questions = tuple(prompts[key] for key in draw(prompts, len(QUESTIONS), 0)) or QUESTIONS
    try:
        comparison = compare_export(source, folder, settings, questions, log, say)
    except ModelError:
        log.unlink(missing_ok=True)
        raise
    # After a ServingError the log stays, as the message names it.
    log.unlink(missing_ok=True)
    return comparison
