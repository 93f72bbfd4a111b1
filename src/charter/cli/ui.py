"""``charter ui``: Prefect on this machine, with every deployment registered."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Start and stop Prefect on this machine: server, worker and watcher.")

Home = Annotated[
    Path | None, typer.Option(help="The folder that holds all its state.", show_default=".prefect of the project")
]


@app.command("start")
def start_command(
    port: Annotated[
        int | None, typer.Option(help="On the loopback address.", show_default="the port of the last start, or 4200")
    ] = None,
    home: Home = None,
    deployments: Annotated[
        Path | None, typer.Option(help="What to register.", show_default="prefect.yaml of the project")
    ] = None,
    constitutions: Annotated[
        Path | None,
        typer.Option(
            help="The folder to watch: a saved change starts a run.", show_default="constitutions of the project"
        ),
    ] = None,
) -> None:
    """Start what does not run yet, register what is not registered yet, and print where to look."""
    from flows.cockpit.settings import HOME, ROOT  # the flows are needed by these commands only
    from flows.ui import start

    watched = constitutions or ROOT / "constitutions"
    start((home or HOME).resolve(), port, (deployments or ROOT / "prefect.yaml").resolve(), watched.resolve())


@app.command("stop")
def stop_command(home: Home = None) -> None:
    """End the watcher, the worker with its runs, and the server. Their state is kept for the next start."""
    from flows.cockpit.settings import HOME
    from flows.ui import stop

    stop((home or HOME).resolve())
