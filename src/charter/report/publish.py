"""Write what people read of a run: the report, and the cards of what it made."""

import platform
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from charter.config import Config
from charter.constitution import kept_constitution_path
from charter.pipeline.counts import StageCount
from charter.report.collect import collect, write_report
from charter.runs.manifest import package_versions
from charter.runs.provenance import checkout, machine


def report_run(
    config: Config, stages: Mapping[str, StageCount], models: Mapping[str, str], made: str, again: str = "align"
) -> Path:
    """Write the report, and the cards of what the run made, from what stands in its folder; the page's path.

    `again` makes the run once more: its flow, and what that is given besides the config.
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


def again_command(config: Config, again: str) -> str:
    """The command that makes a run again from what its folder keeps, in a folder beside it.

    The law is the run's copy, since the file that its config names may have been edited since. A flow that is given a
    dataset, or models, takes it from there.
    """
    folder, (flow, *others) = config.run_folder, again.split(" ", 1)
    law = kept_constitution_path(folder)
    pinned = [f"constitution={law}"] if law.is_file() and not others else []
    given = [str(folder / "config.yaml"), *pinned, f"name={config.name[:94]}-again"]
    return " ".join(["python", "-m", f"flows.{flow}", *map(shlex.quote, given), *others])
