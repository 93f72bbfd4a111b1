"""Write the files that people read of a run: the report, and the cards of its model and its data."""

import platform
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from charter.config import Config
from charter.constitution import kept_constitution_path
from charter.core.files import write_text_atomic
from charter.core.text import printable
from charter.pipeline.counts import StageCount
from charter.report.cards import dataset_card, model_card
from charter.report.collect import collect
from charter.report.data import ReportData
from charter.report.page import render_report
from charter.runs.manifest import checkout, machine, package_versions
from charter.training.job import STEPS

FILES = {
    "report.html": render_report,
    "report.json": ReportData.to_json,
    "MODEL_CARD.md": model_card,
    "DATASET_CARD.md": dataset_card,
}
CARDS = ("MODEL_CARD.md", "DATASET_CARD.md")


def report_run(
    config: Config, stages: Mapping[str, StageCount], models: Mapping[str, str], made: str, again: str = "align"
) -> Path:
    """Collect and write the report and the cards of a run; returns the path of the page.

    `models` are identities by name, `made` is the time to print, `again` is the flow that made the run with its
    arguments besides the config.
    """
    folder = config.run_folder
    data = collect(
        folder,
        {name: {k: v for k, v in vars(count).items() if k != "stage"} for name, count in stages.items()},
        made=made,
        command=again_command(config, again),
        models=models,
        versions={**package_versions(), "python": platform.python_version()},
    )
    return write_report(folder, replace(data, checkout=checkout(), machine=machine()))


def write_report(run_folder: Path, data: ReportData) -> Path:
    """Write ``report.html``, ``report.json`` and both cards into `run_folder`; returns the path of the page.

    A run that made neither data nor models, but evaluated models made elsewhere, has no cards.
    """
    has_cards = not data.evaluation or any((run_folder / name).is_dir() for name in ("responses", "pairs", *STEPS))
    # `printable` removes control characters, which a model may have written and a browser or a hub refuses.
    for name, write in FILES.items():
        if name not in CARDS or has_cards:
            write_text_atomic(run_folder / name, printable(write(data)))
    return run_folder / "report.html"


def again_command(config: Config, again: str) -> str:
    """The command that repeats a run from what its folder keeps, into a new folder next to it."""
    folder, (flow, *others) = config.run_folder, again.split(" ", 1)
    constitution = kept_constitution_path(folder)
    # The run's copy, because the file that its config names may have been edited since. A flow with a dataset or
    # models as arguments takes the constitution from there.
    pinned = [f"constitution={constitution}"] if constitution.is_file() and not others else []
    arguments = [str(folder / "config.yaml"), *pinned, f"name={config.name[:94]}-again"]
    return " ".join(["python", "-m", f"flows.{flow}", *map(shlex.quote, arguments), *others])
