"""``charter trace``: each request and answer of one row, in order."""

from pathlib import Path
from typing import Annotated

import typer

from charter.cli.output import AsJson, print_json, print_progress
from charter.config import load_config
from charter.core.errors import ConfigError


def trace_command(
    prompt: Annotated[str | None, typer.Argument(help="What a user says, in quotation marks.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="A run's YAML: its constitution, model, servers, store and chain.")
    ] = None,
    row: Annotated[str | None, typer.Option(help="In place of a prompt: a row's id, or its beginning.")] = None,
    run: Annotated[Path | None, typer.Option(help="With --row: its finished run's folder; needs no server.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print each request and answer of one row on its way: respond, critique, revise, judge.

    A prompt is sent through the chain as it would go, by way of the store. A row of a finished run is followed again
    out of the store alone.
    """
    from charter.core.text import plain
    from charter.report.terminal import open_console
    from charter.views.trace import print_trace, trace_prompt, trace_row

    # Two ways to call it, which share no argument.
    if prompt is not None and row is None and run is None:
        trace = trace_prompt(prompt, load_config(config), print_progress)
    elif prompt is None and row is not None and run is not None and config is None:
        trace = trace_row(run, row)
    else:
        raise ConfigError(
            "trace: wants either a prompt (charter trace 'How are you?' --config configs/demo.yaml) or a row of a run "
            "(charter trace --row ID --run outputs/demo). Give one of them."
        )
    if as_json:
        print_json(plain(trace.to_dict()))
    else:
        print_trace(trace, open_console())
