"""``charter estimate``: what a run will ask, before it is started."""

from pathlib import Path
from typing import Annotated

import typer

from charter.cli.output import AsJson, print_json, print_progress
from charter.config import load_config, read_override


def estimate_command(
    config: Annotated[Path, typer.Argument(help="A run's YAML file, such as configs/demo.yaml.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings to change, such as prompts.n=5000, as for the run itself.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="How many rows to probe.")] = 32,
    as_json: AsJson = False,
) -> None:
    """Say how many calls and tokens a run will ask and how long that takes at most, and what the store has already.

    A few rows are sent through the real chain on the real servers; their answers go into the store of the run, which
    will not ask for them again.
    """
    from charter.core.text import plain
    from charter.report.terminal import open_console
    from charter.views.estimate import estimate, print_forecast  # polars and the stages: for this command only

    settings = load_config(config, dict(map(read_override, overrides or ())))
    forecast = estimate(settings, rows, print_progress)
    if as_json:
        print_json(plain(forecast.to_dict()))
    else:
        print_forecast(forecast, open_console())
