"""``charter estimate``: what a run will ask, before it is started."""

import json
from pathlib import Path
from typing import Annotated

import typer

from charter.config import load_config, read_override


def estimate_command(
    config: Annotated[Path, typer.Argument(help="A run's YAML file, such as configs/demo.yaml.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings to change, such as prompts.n=5000, as for the run itself.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="How many rows to probe.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Say how many calls and tokens a run will ask and how long that takes at most, and what the store has already.

    A few rows are sent through the real chain on the real servers; their answers go into the store of the run, which
    will not ask for them again.
    """
    from charter.core.text import plain
    from charter.report.terminal import open_console
    from charter.views.estimate import estimate, print_forecast  # polars and the stages: for this command only

    settings = load_config(config, dict(map(read_override, overrides or ())))
    forecast = estimate(settings, rows, lambda line: typer.echo(line, err=True))
    if as_json:
        typer.echo(json.dumps(plain(forecast.to_dict()), ensure_ascii=False, indent=2))
    else:
        print_forecast(forecast, open_console())
